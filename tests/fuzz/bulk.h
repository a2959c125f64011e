/* What must hold for the tensors that a reader of binary bodies accepted. */
#ifndef CAJAL_FUZZ_BULK_H
#define CAJAL_FUZZ_BULK_H
#include "schema/formats/bulk.h"
#include "schema/limits.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

/* They lie one after the other in the last bytes of the body; counts and bytes are those of shape and dtype. */
static inline void bulk_check(const Bulk *bulk, size_t len) {
    size_t at = bulk->n ? bulk->items[0].offset : len;
    for (size_t i = 0; i < bulk->n; i++) {
        const BulkTensor *t = &bulk->items[i];
        size_t count = 1;
        fuzz_require(t->name && (unsigned)t->element < ELEMENT_COUNT && t->dtype == element_dtype(t->element) && t->rank <= LIMIT_TENSOR_RANK, "a tensor has a name, a dtype and a rank");
        for (size_t k = 0; k < t->rank; k++) count *= t->shape[k];
        fuzz_require(count == t->count && t->bytes == count * element_width(t->element), "a tensor's bytes are its shape's");
        fuzz_require(t->offset == at && t->bytes <= len - at, "tensors lie one after the other inside the body");
        at += t->bytes;
    }
    fuzz_require(at == len, "nothing is behind the last tensor");
}

/* All of it and its two halves convert alike; whoever reads with the sanitizers on sees that nothing beyond is touched. */
static inline void bulk_check_conversion(const BulkTensor *t, const unsigned char *data) {
    enum { MOST = 1 << 20 };
    const size_t size = dtype_size(t->dtype), n = t->count, half = n / 2;
    Err err = {0};
    if (n > MOST) return;
    unsigned char *whole = malloc(n * size + 1), *parts = malloc(n * size + 1);
    fuzz_require(whole && parts, "there is memory");
    fuzz_require(bulk_fits(t, data, &err) || (t->element == ELEMENT_U64 && err.code == ERR_bad_tensor), "only a u64 may not fit");
    bulk_convert(t, data, 0, n, whole);
    bulk_convert(t, data, 0, half, parts);
    bulk_convert(t, data, half, n - half, parts + half * size);
    fuzz_require(memcmp(whole, parts, n * size) == 0, "parts are the whole");
    fuzz_require(!bulk_plain(t) || memcmp(whole, data, n * size) == 0, "what is plain stays as it is");
    free(whole);
    free(parts);
}

/* `again` was read from a body written for `bulk`. Empty tensors may trade places. */
static inline void bulk_same(const Bulk *bulk, const Bulk *again) {
    fuzz_require(bulk->n == again->n, "as many tensors are read as were written");
    for (size_t i = 0; i < bulk->n; i++) {
        const BulkTensor *a = &bulk->items[i], *b = &again->items[i];
        bool same = a->bytes == b->bytes && (!a->bytes || (a->dtype == b->dtype && a->rank == b->rank));
        for (size_t k = 0; same && a->bytes && k < a->rank; k++) same = a->shape[k] == b->shape[k];
        fuzz_require(same, "a written tensor reads back");
    }
}
#endif
