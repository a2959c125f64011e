/* Safetensors bodies: refused as bad_tensor, or tensors inside the body that convert; those in dtypes of ours read back when written again. */
#include "schema/formats/safetensors.h"
#include "tests/fuzz/bulk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bulk bulk, again;
    Err err = {0};
    Buf out;
    if (!safetensors_read(data, size, &bulk, &err)) {
        fuzz_require(err.code == ERR_bad_tensor, "a malformed body is told so");
        return 0;
    }
    bulk_check(&bulk, size);
    for (size_t i = 0; i < bulk.n; i++) bulk_check_conversion(&bulk.items[i], data + bulk.items[i].offset);
    if (!bulk_all_plain(&bulk, &err)) {
        bulk_release(&bulk);
        return 0;
    }
    buf_init(&out);
    safetensors_put_header(&out, bulk.items, bulk.n);
    if (bulk.n) buf_put(&out, data + bulk.items[0].offset, size - bulk.items[0].offset);
    fuzz_require(!out.failed && safetensors_read(out.data, out.len, &again, &err), "a written body reads back");
    bulk_check(&again, out.len);
    bulk_same(&bulk, &again);
    bulk_release(&again);
    bulk_release(&bulk);
    buf_release(&out);
    return 0;
}
