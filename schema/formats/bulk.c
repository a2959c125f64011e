#include "schema/formats/bulk.h"
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void bulk_release(Bulk *bulk) {
    for (size_t i = 0; i < bulk->n; i++) free(bulk->items[i].name);
    free(bulk->items);
    *bulk = (Bulk){0};
}

bool bulk_measure(BulkTensor *t) {
    const size_t width = element_width(t->element);
    size_t long_axes = 0;
    t->dtype = element_dtype(t->element);
    t->count = 1;
    for (size_t i = 0; i < t->rank; i++) {
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count)) return false;
        long_axes += t->shape[i] > 1;
    }
    t->big_endian &= width > 1;
    t->fortran &= long_axes > 1 && t->count;
    return !__builtin_mul_overflow(t->count, width, &t->bytes);
}

bool bulk_single(const BulkTensor *tensor, Bulk *out, Err *err) {
    BulkTensor *item = malloc(sizeof *item);
    char *name = strdup("args.0");
    if (!item || !name) {
        free(item);
        free(name);
        return err_set(err, ERR_internal, "Memory is short.");
    }
    *item = *tensor;
    item->name = name;
    *out = (Bulk){.items = item, .n = 1};
    return true;
}

bool bulk_plain(const BulkTensor *t) { return t->element == element_of_dtype(t->dtype) && !t->big_endian && !t->fortran; }

bool bulk_all_plain(const Bulk *bulk, Err *err) {
    for (size_t i = 0; i < bulk->n; i++) {
        const BulkTensor *t = &bulk->items[i];
        if (!bulk_plain(t))
            return err_set(err, ERR_bad_tensor, "The tensor \"%.100s\" is stored as %s, and only f32, f64, i64, u8 and bool are written here.", t->name,
                           element_name(t->element));
    }
    return true;
}

bool bulk_fits(const BulkTensor *t, const unsigned char *data, Err *err) {
    if (t->element != ELEMENT_U64) return true;
    for (size_t i = 0; i < t->count; i++) {
        uint64_t v;
        memcpy(&v, data + i * sizeof v, sizeof v);
        if (t->big_endian) v = __builtin_bswap64(v);
        if (v > INT64_MAX)
            return err_set(err, ERR_bad_tensor, "\"%.100s\" holds the integer %" PRIu64 "; integers become i64, which ends at %" PRId64 ".", t->name, v,
                           INT64_MAX);
    }
    return true;
}

/* In Fortran order the elements of the last axis lie `stride` apart, with all that the axes before it hold in between: a run of them at a time. */
static void convert_fortran(const BulkTensor *t, const unsigned char *data, size_t first, size_t n, unsigned char *to) {
    const size_t last = t->rank - 1, size = dtype_size(t->dtype);
    size_t at[LIMIT_TENSOR_RANK], stride[LIMIT_TENSOR_RANK];
    stride[0] = element_width(t->element);
    for (size_t k = 1; k < t->rank; k++) stride[k] = stride[k - 1] * t->shape[k - 1];
    for (size_t k = t->rank; k--; first /= t->shape[k]) at[k] = first % t->shape[k];
    while (n) {
        const size_t left = t->shape[last] - at[last], run = left < n ? left : n;
        const unsigned char *from = data;
        for (size_t k = 0; k < t->rank; k++) from += at[k] * stride[k];
        elements_convert(t->element, t->big_endian, from, stride[last], run, to);
        n -= run;
        to += run * size;
        at[last] += run;
        for (size_t k = last; k && at[k] == t->shape[k]; k--) {
            at[k] = 0;
            at[k - 1]++;
        }
    }
}

void bulk_convert(const BulkTensor *t, const unsigned char *data, size_t first, size_t n, void *to) {
    const size_t width = element_width(t->element);
    if (bulk_plain(t)) memcpy(to, data + first * width, n * width);
    else if (t->fortran) convert_fortran(t, data, first, n, to);
    else elements_convert(t->element, t->big_endian, data + first * width, width, n, to);
}
