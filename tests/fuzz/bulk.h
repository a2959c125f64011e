/* What must hold for the tensors that a reader of binary bodies accepted. */
#ifndef CAJAL_FUZZ_BULK_H
#define CAJAL_FUZZ_BULK_H
#include "schema/formats/bulk.h"
#include "schema/limits.h"
#include "tests/fuzz/fuzz.h"

/* They lie one after the other in the last bytes of the body; counts and bytes are those of shape and dtype. */
static inline void bulk_check(const Bulk *bulk, size_t len) {
    size_t at = bulk->n ? bulk->items[0].offset : len;
    for (size_t i = 0; i < bulk->n; i++) {
        const BulkTensor *t = &bulk->items[i];
        size_t count = 1;
        fuzz_require(t->name && (unsigned)t->dtype < DT_COUNT && t->rank <= LIMIT_TENSOR_RANK, "a tensor has a name, a dtype and a rank");
        for (size_t k = 0; k < t->rank; k++) count *= t->shape[k];
        fuzz_require(count == t->count && t->bytes == count * dtype_size(t->dtype), "a tensor's bytes are its shape's");
        fuzz_require(t->offset == at && t->bytes <= len - at, "tensors lie one after the other inside the body");
        at += t->bytes;
    }
    fuzz_require(at == len, "nothing is behind the last tensor");
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
