/* Npy bodies: refused as bad_tensor, or one tensor that is the last bytes of the body and converts; as converted it reads back when written again. */
#include "schema/formats/npy.h"
#include "tests/fuzz/bulk.h"

/* `t` converted and written reads back as those elements. */
static void check_written(const BulkTensor *t, const uint8_t *data) {
    const size_t bytes = t->count * dtype_size(t->dtype);
    unsigned char *elements = malloc(bytes + 1);
    Bulk again;
    Err err = {0};
    Buf out;
    buf_init(&out);
    fuzz_require(elements != NULL, "there is memory");
    bulk_convert(t, data, 0, t->count, elements);
    npy_put_header(&out, t->dtype, t->shape, t->rank);
    buf_put(&out, elements, bytes);
    fuzz_require(!out.failed && npy_read(out.data, out.len, &again, &err), "a written body reads back");
    bulk_check(&again, out.len);
    bool same = again.items->dtype == t->dtype && again.items->rank == t->rank && bulk_plain(again.items);
    for (size_t k = 0; same && k < t->rank; k++) same = again.items->shape[k] == t->shape[k];
    fuzz_require(same && memcmp(out.data + again.items->offset, elements, bytes) == 0, "a written tensor reads back");
    bulk_release(&again);
    buf_release(&out);
    free(elements);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bulk bulk;
    Err err = {0};
    if (!npy_read(data, size, &bulk, &err)) {
        fuzz_require(err.code == ERR_bad_tensor, "a malformed body is told so");
        return 0;
    }
    fuzz_require(bulk.n == 1 && npy_is(data, size), "a body is one tensor");
    bulk_check(&bulk, size);
    bulk_check_conversion(bulk.items, data + bulk.items->offset);
    check_written(bulk.items, data + bulk.items->offset);
    bulk_release(&bulk);
    return 0;
}
