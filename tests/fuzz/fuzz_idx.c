/* IDX bodies: refused as bad_tensor, or an array inside the body whose elements convert, and that no other reader would take. */
#include "schema/formats/idx.h"
#include "tests/fuzz/fuzz.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Idx idx;
    Err err = {0};
    if (!idx_read(data, size, &idx, &err)) {
        fuzz_require(err.code == ERR_bad_tensor, "a malformed body is told so");
        return 0;
    }
    size_t count = 1;
    for (size_t i = 0; i < idx.rank; i++) count *= idx.shape[i];
    fuzz_require(idx.rank > 0 && idx.rank <= LIMIT_TENSOR_RANK && count == idx.count, "the elements are the shape's");
    fuzz_require(idx.offset <= size && size - idx.offset == count * idx.width, "they are the last bytes of the body");
    Bulk bulk;
    fuzz_require(!safetensors_read(data, size, &bulk, &err) && !npy_read(data, size, &bulk, &err), "no other reader takes it");
    unsigned char *out = malloc(count ? count * dtype_size(idx.dtype) : 1);
    if (out) idx_convert(&idx, data + idx.offset, count, out);
    free(out);
    return 0;
}
