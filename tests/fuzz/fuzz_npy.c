/* Npy bodies: refused as bad_tensor, or one tensor inside the body that reads back when written again. */
#include "tests/fuzz/bulk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bulk bulk, again;
    Err err = {0};
    Buf out;
    if (!npy_read(data, size, &bulk, &err)) {
        fuzz_require(err.code == ERR_bad_tensor, "a malformed body is told so");
        return 0;
    }
    fuzz_require(bulk.n == 1, "a body is one tensor");
    bulk_check(&bulk, size);
    buf_init(&out);
    npy_put_header(&out, bulk.items[0].dtype, bulk.items[0].shape, bulk.items[0].rank);
    buf_put(&out, data + bulk.items[0].offset, bulk.items[0].bytes);
    fuzz_require(!out.failed && npy_read(out.data, out.len, &again, &err), "a written body reads back");
    bulk_check(&again, out.len);
    bulk_same(&bulk, &again);
    bulk_release(&again);
    bulk_release(&bulk);
    buf_release(&out);
    return 0;
}
