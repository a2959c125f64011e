#include "server/data/npz.h"
#include "schema/formats/npy.h"
#include "schema/limits.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SUFFIX ".npy"
enum { SUFFIX_LEN = sizeof SUFFIX - 1, SHOWN = 100 };

static int shown(const ZipMember *m) { return (int)(m->name_len < SHOWN ? m->name_len : SHOWN); }

static bool is_npy_name(const ZipMember *m) {
    return m->name_len >= SUFFIX_LEN && memcmp(m->name + m->name_len - SUFFIX_LEN, SUFFIX, SUFFIX_LEN) == 0;
}

/* Before anything is unpacked. */
static bool check_members(const Zip *zip, size_t most, Err *err) {
    size_t total = 0; /* of at most LIMIT_COLUMNS sizes of 32 bits */
    for (size_t i = 0; i < zip->n; i++) {
        const ZipMember *m = &zip->members[i];
        if (!is_npy_name(m))
            return err_set(err, ERR_bad_tensor, "This is a zip archive with a member \"%.*s\", which is no .npy; of zip archives only npz, numpy's savez, is taken.",
                           shown(m), m->name);
        if (m->deflated) total += m->size;
    }
    return total <= most || err_set(err, ERR_body_too_large, "A body may have at most %zu bytes, inflated; the members of this npz are %zu.", most, total);
}

typedef struct {
    InflateSink *sink;
    void *arg;
    uLong crc;
    size_t len;
} Summing;

static ErrCode put_summed(void *arg, const void *bytes, size_t len) {
    Summing *s = arg;
    s->crc = crc32_z(s->crc, bytes, len);
    s->len += len;
    return s->sink(s->arg, bytes, len);
}

static ErrCode ignore(void *arg, const void *bytes, size_t len) {
    (void)arg, (void)bytes, (void)len;
    return ERR_NONE;
}

static bool unpack_member(const ZipMember *m, const unsigned char *body, InflateSink *sink, void *arg, Err *err) {
    Summing s = {m->deflated ? sink : ignore, arg, crc32_z(0, NULL, 0), 0};
    const unsigned char *packed = body + m->offset;
    ErrCode code = m->deflated ? inflate_raw(packed, m->packed, m->size, put_summed, &s) : put_summed(&s, packed, m->packed);
    if (code == ERR_body_too_large || (code == ERR_NONE && (s.len != m->size || s.crc != m->crc))) code = ERR_bad_tensor;
    if (code == ERR_NONE) return true;
    return err_set(err, code, code == ERR_bad_tensor ? "The member \"%.*s\" is damaged: it is not of the size and checksum that the archive states."
                                                     : "The member \"%.*s\" cannot be unpacked.", shown(m), m->name);
}

bool npz_unpack(Npz *npz, const unsigned char *body, size_t len, size_t most, InflateSink *sink, void *arg, Err *err) {
    *npz = (Npz){0};
    bool ok = zip_read(body, len, LIMIT_COLUMNS, &npz->zip, err) && check_members(&npz->zip, most, err);
    for (size_t i = 0; ok && i < npz->zip.n; i++) ok = unpack_member(&npz->zip.members[i], body, sink, arg, err);
    return ok;
}

/* Without .npy. */
static char *column_name(const ZipMember *m) {
    const size_t len = m->name_len - SUFFIX_LEN;
    char *name = calloc(len + 1, 1);
    if (name) memcpy(name, m->name, len);
    return name;
}

static bool read_member(Npz *npz, const ZipMember *m, const unsigned char *data, Err *err) {
    Bulk one;
    Err why = {0};
    if (!npy_read(data, m->size, &one, &why)) return err_set(err, why.code, "The member \"%.*s\": %s", shown(m), m->name, why.message);
    npz->data[npz->bulk.n] = data;
    BulkTensor *t = &npz->bulk.items[npz->bulk.n++];
    *t = *one.items;
    t->name = column_name(m);
    bulk_release(&one);
    return t->name || err_set(err, ERR_internal, "Memory is short.");
}

bool npz_read(Npz *npz, const unsigned char *body, const unsigned char *unpacked, Err *err) {
    const size_t n = npz->zip.n;
    npz->bulk.items = calloc(n + 1, sizeof *npz->bulk.items);
    npz->data = calloc(n + 1, sizeof *npz->data);
    bool ok = (npz->bulk.items && npz->data) || err_set(err, ERR_internal, "Memory is short.");
    for (size_t i = 0; ok && i < n; i++) {
        const ZipMember *m = &npz->zip.members[i];
        ok = read_member(npz, m, m->deflated ? unpacked : body + m->offset, err);
        if (m->deflated) unpacked += m->size;
    }
    return ok;
}

void npz_release(Npz *npz) {
    zip_release(&npz->zip);
    bulk_release(&npz->bulk);
    free(npz->data);
    *npz = (Npz){0};
}
