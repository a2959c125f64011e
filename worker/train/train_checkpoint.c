#include "worker/train/train_checkpoint.h"
#include "schema/formats/safetensors.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char state_prefix[] = "optimizer.";

static size_t element(const Checkpoint *c) { return c->f64 ? sizeof(double) : sizeof(float); }

size_t checkpoint_bytes(const Checkpoint *c) {
    size_t all = 0, bytes;
    for (uint32_t i = 0; i < c->n; i++)
        if (__builtin_mul_overflow(c->tensors[i].size, element(c), &bytes) || __builtin_add_overflow(all, bytes, &all)) return SIZE_MAX;
    return all;
}

/* ---- writing ---- */

static void put_header(const Checkpoint *c, BulkTensor *tensors, Buf *out) {
    char step[24], updates[24], skipped[24], in_a_row[24];
    for (uint32_t i = 0; i < c->n; i++) {
        const CheckpointTensor *t = &c->tensors[i];
        tensors[i] = (BulkTensor){.name = t->name, .dtype = c->f64 ? DT_F64 : DT_F32, .rank = t->rank, .count = t->size,
                                  .bytes = t->size * element(c)};
        for (uint32_t d = 0; d < t->rank; d++) tensors[i].shape[d] = t->dims[d];
    }
    snprintf(step, sizeof step, "%" PRIu64, c->step);
    snprintf(updates, sizeof updates, "%" PRIu64, c->updates);
    snprintf(skipped, sizeof skipped, "%" PRIu64, c->skipped);
    snprintf(in_a_row, sizeof in_a_row, "%" PRIu64, c->skipped_in_a_row);
    const BulkNote notes[] = {{"step", step}, {"updates", updates}, {"spec_sha256", c->spec}, {"owes_evaluation", c->owes ? "1" : "0"},
                              {"skipped", skipped}, {"skipped_in_a_row", in_a_row}, {"trained", c->trained ? "1" : "0"}};
    safetensors_put_noted(out, tensors, c->n, notes, sizeof notes / sizeof *notes);
}

bool checkpoint_write(const Checkpoint *c, Area *out, Err *err) {
    Buf header;
    const size_t data = checkpoint_bytes(c);
    BulkTensor *tensors = calloc(c->n + (size_t)1, sizeof *tensors);
    buf_init(&header);
    if (tensors) put_header(c, tensors, &header);
    free(tensors);
    bool ok = tensors && !header.failed;
    if (!ok) err_set(err, ERR_too_large, "This takes more memory than a worker may have.");
    else if (data > LIMIT_JOB_BYTES - header.len)
        ok = err_set(err, ERR_too_large, "A checkpoint would take more than %zu MiB.", LIMIT_JOB_BYTES >> 20);
    else if (!area_create(out, header.len + data)) ok = err_set(err, ERR_internal, "A checkpoint cannot be mapped.");
    if (ok) {
        unsigned char *at = memcpy(out->data, header.data, header.len);
        at += header.len;
        for (uint32_t i = 0; i < c->n; at += c->tensors[i].size * element(c), i++)
            memcpy(at, c->tensors[i].data, c->tensors[i].size * element(c));
    }
    buf_release(&header);
    return ok;
}

/* ---- reading ---- */

static bool read_number(const unsigned char *file, size_t len, const char *key, uint64_t *out) {
    char text[24], *end;
    if (!safetensors_note(file, len, key, text, sizeof text) || text[0] < '0' || text[0] > '9') return false;
    *out = strtoull(text, &end, 10);
    return !*end && *out <= LIMIT_NUMERAL;
}

/* Files of ours have the tensors in our order: `near` is where to look first. */
static const BulkTensor *find(const Bulk *bulk, const char *name, uint32_t near) {
    if (near < bulk->n && !strcmp(bulk->items[near].name, name)) return &bulk->items[near];
    for (size_t i = 0; i < bulk->n; i++)
        if (!strcmp(bulk->items[i].name, name)) return &bulk->items[i];
    return NULL;
}

static bool has_shape(const BulkTensor *have, const uint32_t *dims, uint32_t rank) {
    if (!have || have->rank != rank) return false;
    for (uint32_t d = 0; d < rank; d++)
        if (have->shape[d] != dims[d]) return false;
    return true;
}

static bool fits(const Checkpoint *c, const CheckpointTensor *want, const BulkTensor *have) {
    return has_shape(have, want->dims, want->rank) && have->dtype == (c->f64 ? DT_F64 : DT_F32);
}

static bool known(const Checkpoint *c, const char *name, size_t near) {
    if (near < c->n && !strcmp(c->tensors[near].name, name)) return true;
    for (uint32_t i = 0; i < c->n; i++)
        if (!strcmp(c->tensors[i].name, name)) return true;
    return false;
}

/* Does everything fit that has to; *fresh: are the states unusable? */
static bool check(const Checkpoint *c, const Bulk *bulk, bool same, bool *fresh, Err *err) {
    *fresh = false;
    for (uint32_t i = 0; i < c->n; i++) {
        const CheckpointTensor *t = &c->tensors[i];
        if (fits(c, t, find(bulk, t->name, i))) continue;
        if (same || !t->state) return err_set(err, ERR_bad_run, "The checkpoint has no tensor \"%.100s\" of this shape and dtype.", t->name);
        *fresh = true;
    }
    for (size_t i = 0; i < bulk->n; i++) {
        const char *name = bulk->items[i].name;
        if (known(c, name, i)) continue;
        if (same || strncmp(name, state_prefix, sizeof state_prefix - 1) != 0)
            return err_set(err, ERR_bad_run, "The checkpoint has a tensor \"%.100s\", which is none of the run's.", name);
        *fresh = true;
    }
    return true;
}

static bool read_file(const unsigned char *file, size_t len, Bulk *bulk, Err *err) {
    Err why = {0};
    if (safetensors_read(file, len, bulk, &why) && bulk_all_plain(bulk, &why)) return true;
    bulk_release(bulk);
    return err_set(err, ERR_bad_run, "The checkpoint does not read: %.150s", why.message);
}

/* Files of before there were these notes have skipped nothing, as far as is known. */
static void read_skipped(Checkpoint *c, const unsigned char *file, size_t len, bool same) {
    uint64_t trained;
    c->skipped = c->skipped_in_a_row = 0;
    c->trained = false;
    if (!same) return;
    if (read_number(file, len, "skipped", &c->skipped) && read_number(file, len, "skipped_in_a_row", &c->skipped_in_a_row) &&
        read_number(file, len, "trained", &trained))
        c->trained = trained != 0;
    else c->trained = c->step > 0;
}

bool checkpoint_read(Checkpoint *c, const unsigned char *file, size_t len, bool *fresh, Err *err) {
    Bulk bulk;
    uint64_t owes;
    char spec[CHECKPOINT_SHA];
    if (!read_number(file, len, "step", &c->step) || !read_number(file, len, "updates", &c->updates) ||
        !read_number(file, len, "owes_evaluation", &owes) || !safetensors_note(file, len, "spec_sha256", spec, sizeof spec))
        return err_set(err, ERR_bad_run, "The file is no run's checkpoint.");
    c->owes = owes != 0;
    if (!read_file(file, len, &bulk, err)) return false;
    const bool same = !strcmp(spec, c->spec), ok = check(c, &bulk, same, fresh, err);
    read_skipped(c, file, len, same);
    for (uint32_t i = 0; ok && i < c->n; i++) {
        const CheckpointTensor *t = &c->tensors[i];
        if (t->state && *fresh) memset(t->data, 0, t->size * element(c));
        else memcpy(t->data, file + find(&bulk, t->name, i)->offset, t->size * element(c));
    }
    if (ok && *fresh) c->updates = 0;
    bulk_release(&bulk);
    return ok;
}

/* A file's elements need not be aligned. */
typedef float LooseF32 __attribute__((aligned(1), may_alias));
typedef double LooseF64 __attribute__((aligned(1), may_alias));

bool checkpoint_weight(const unsigned char *file, size_t len, const char *name, const uint32_t *dims, uint32_t rank, double *out, Err *err) {
    Bulk bulk;
    if (!read_file(file, len, &bulk, err)) return false;
    const BulkTensor *t = find(&bulk, name, 0);
    bool ok = has_shape(t, dims, rank) && (t->dtype == DT_F32 || t->dtype == DT_F64);
    if (!ok) err_set(err, ERR_bad_run, "The earlier run has no weight \"%.100s\" of this shape.", name);
    for (size_t i = 0; ok && i < t->count; i++)
        out[i] = t->dtype == DT_F64 ? ((const LooseF64 *)(file + t->offset))[i] : (double)((const LooseF32 *)(file + t->offset))[i];
    bulk_release(&bulk);
    return ok;
}
