/* IDX bodies: refused as bad_tensor, or an array that is the last bytes of the body and converts, and that no other reader would take. */
#include "schema/formats/idx.h"
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include "tests/fuzz/bulk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bulk bulk, other;
    Err err = {0};
    if (!idx_read(data, size, &bulk, &err)) {
        fuzz_require(err.code == ERR_bad_tensor, "a malformed body is told so");
        return 0;
    }
    fuzz_require(bulk.n == 1 && bulk.items->rank > 0, "a body is one array with an axis");
    bulk_check(&bulk, size);
    bulk_check_conversion(bulk.items, data + bulk.items->offset);
    fuzz_require(!safetensors_read(data, size, &other, &err) && !npy_read(data, size, &other, &err), "no other reader takes it");
    bulk_release(&bulk);
    return 0;
}
