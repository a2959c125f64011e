#include "schema/formats/zip.h"
#include "schema/base/buf.h"
#include <stdlib.h>
#include <string.h>

enum { END = 22, LONGEST_COMMENT = 65535 };
enum { ENCRYPTED = 1, SIZES_BEHIND = 8 };             /* flags */
enum { STORED = 0, DEFLATED = 8 };                    /* methods */
enum { EXTRA_ZIP64 = 1, SHOWN = 100 };
#define ELSEWHERE UINT32_MAX                          /* a size that stands in a zip64 field instead */

#define SIGNATURE_LOCAL UINT32_C(0x04034b50)
#define SIGNATURE_CENTRAL UINT32_C(0x02014b50)
#define SIGNATURE_END UINT32_C(0x06054b50)

typedef struct {
    const unsigned char *body;
    size_t len;
    size_t directory, directory_len, n;
    Err *err;
} Archive;

/* What both headers of a member say. */
typedef struct {
    uint16_t flags, method, name_len, extra_len;
    uint32_t crc, packed, size;
} Header;

static bool bad(const Archive *a, const char *what) { return err_set(a->err, ERR_bad_tensor, "The zip archive %s.", what); }

static bool bad_member(const Archive *a, const ZipMember *m, const char *what) {
    const int shown = (int)(m->name_len < SHOWN ? m->name_len : SHOWN);
    return err_set(a->err, ERR_bad_tensor, "The zip archive's member \"%.*s\" %s.", shown, m->name, what);
}

static uint32_t signature(const unsigned char *at) {
    Reader r = reader_of(at, 4);
    return read_u32(&r);
}

/* As a safetensors header's length these bytes would be beyond LIMIT_JSON_BYTES. */
bool zip_is(const unsigned char *body, size_t len) {
    return len >= 4 && (signature(body) == SIGNATURE_LOCAL || signature(body) == SIGNATURE_END);
}

/* The last end record whose comment ends with the body. */
static bool find_end(const Archive *a, size_t *at) {
    for (size_t comment = 0; comment <= LONGEST_COMMENT && comment + END <= a->len; comment++) {
        const unsigned char *end = a->body + a->len - END - comment;
        if (signature(end) != SIGNATURE_END || (end[20] | end[21] << 8) != (int)comment) continue;
        *at = (size_t)(end - a->body);
        return true;
    }
    return false;
}

static bool read_end(Archive *a, size_t most) {
    size_t at;
    if (!find_end(a, &at)) return bad(a, "has no end record: it is cut off, or something stands behind it");
    Reader r = reader_of(a->body + at + 4, END - 4);
    uint16_t disk = read_u16(&r), first = read_u16(&r), here = read_u16(&r), all = read_u16(&r);
    uint32_t size = read_u32(&r), offset = read_u32(&r);
    if (all == UINT16_MAX || size == ELSEWHERE || offset == ELSEWHERE) return bad(a, "is of the form zip64, for 4 GiB and more, which is not taken");
    if (disk || first || here != all) return bad(a, "is one of several parts");
    if (offset > at || size != at - offset) return bad(a, "has a directory that does not lie before its end record");
    if (all > most) return err_set(a->err, ERR_too_large, "The zip archive may have at most %zu members.", most);
    a->directory = offset;
    a->directory_len = size;
    a->n = all;
    return true;
}

static Header read_header(Reader *r) {
    Header h = {.flags = read_u16(r), .method = read_u16(r)};
    read_u32(r); /* when it was changed */
    h.crc = read_u32(r);
    h.packed = read_u32(r);
    h.size = read_u32(r);
    h.name_len = read_u16(r);
    h.extra_len = read_u16(r);
    return h;
}

/* The sizes in a member's own header stand in a zip64 field (as numpy writes it, for whatever size), and are the directory's. */
static bool zip64_agrees(const unsigned char *extra, size_t len, const ZipMember *m) {
    Reader r = reader_of(extra, len);
    while (!r.failed && r.at < r.len) {
        uint16_t id = read_u16(&r), bytes = read_u16(&r);
        if (id == EXTRA_ZIP64 && bytes >= 16) {
            const uint64_t size = read_u64(&r), packed = read_u64(&r);
            return !r.failed && size == m->size && packed == m->packed;
        }
        read_raw(&r, bytes);
    }
    return false;
}

/* A member's own header against the directory's; its data begin behind it. `at`: where it begins. */
static bool read_local(const Archive *a, size_t at, const Header *want, ZipMember *m) {
    Reader r = reader_of(a->body, a->directory);
    r.at = at;
    if (at > a->directory || read_u32(&r) != SIGNATURE_LOCAL) return bad_member(a, m, "is not where the directory says");
    read_u16(&r); /* the version of who unpacks it */
    const Header h = read_header(&r);
    const unsigned char *name = read_raw(&r, h.name_len), *extra = read_raw(&r, h.extra_len);
    m->offset = r.at;
    if (r.failed || m->packed > a->directory - r.at) return bad_member(a, m, "does not end before the directory begins");
    bool same = h.method == want->method && ((h.flags ^ want->flags) & (ENCRYPTED | SIZES_BEHIND)) == 0 && h.name_len == m->name_len &&
                memcmp(name, m->name, m->name_len) == 0;
    if (same && !(h.flags & SIZES_BEHIND))
        same = h.crc == m->crc && ((h.size == m->size && h.packed == m->packed) ||
                                   (h.size == ELSEWHERE && h.packed == ELSEWHERE && zip64_agrees(extra, h.extra_len, m)));
    return same || bad_member(a, m, "has a header of its own that says something else than the directory");
}

static bool check_header(const Archive *a, const Header *h, const ZipMember *m) {
    if (memchr(m->name, 0, m->name_len)) return bad(a, "has a member with a NUL in its name");
    if (h->flags & ENCRYPTED) return bad_member(a, m, "is encrypted");
    if (h->method != STORED && h->method != DEFLATED) return bad_member(a, m, "is packed by a method that is neither deflate nor none");
    if (h->packed == ELSEWHERE || h->size == ELSEWHERE) return bad_member(a, m, "is of the form zip64, for 4 GiB and more, which is not taken");
    return h->method == DEFLATED || h->packed == h->size || bad_member(a, m, "is not packed, and has two sizes");
}

static bool read_member(const Archive *a, Reader *r, ZipMember *m) {
    if (read_u32(r) != SIGNATURE_CENTRAL) return bad(a, "has a directory with something else in it");
    read_u32(r); /* versions */
    const Header h = read_header(r);
    const uint16_t comment = read_u16(r), disk = read_u16(r);
    read_u16(r), read_u32(r); /* attributes */
    const uint32_t at = read_u32(r);
    *m = (ZipMember){.begin = at, .name_len = h.name_len, .packed = h.packed, .size = h.size, .crc = h.crc, .deflated = h.method == DEFLATED};
    m->name = (const char *)read_raw(r, h.name_len);
    read_raw(r, (size_t)h.extra_len + comment);
    if (r->failed) return bad(a, "has a directory that is cut off");
    if (disk) return bad(a, "is one of several parts");
    return check_header(a, &h, m) && read_local(a, at, &h, m);
}

static int by_offset(const void *a, const void *b) {
    const ZipMember *m = a, *n = b;
    return (m->begin > n->begin) - (m->begin < n->begin);
}

static bool check_apart(const Archive *a, const Zip *zip) {
    for (size_t i = 1; i < zip->n; i++) {
        const ZipMember *m = &zip->members[i], *before = m - 1;
        if (m->begin < before->offset + before->packed) return bad_member(a, m, "overlaps another one");
        for (size_t k = 0; k < i; k++)
            if (zip->members[k].name_len == m->name_len && memcmp(zip->members[k].name, m->name, m->name_len) == 0)
                return bad_member(a, m, "stands there twice");
    }
    return true;
}

bool zip_read(const unsigned char *body, size_t len, size_t most, Zip *out, Err *err) {
    Archive a = {.body = body, .len = len, .err = err};
    *out = (Zip){0};
    if (!read_end(&a, most)) return false;
    out->members = calloc(a.n ? a.n : 1, sizeof *out->members);
    bool ok = out->members || err_set(err, ERR_internal, "Memory is short.");
    Reader r = reader_of(body + a.directory, a.directory_len);
    for (; ok && out->n < a.n; out->n++) ok = read_member(&a, &r, &out->members[out->n]);
    ok = ok && (reader_done(&r) || bad(&a, "has a directory longer than its members"));
    if (ok) qsort(out->members, out->n, sizeof *out->members, by_offset);
    ok = ok && check_apart(&a, out);
    if (!ok) zip_release(out);
    return ok;
}

void zip_release(Zip *zip) {
    free(zip->members);
    *zip = (Zip){0};
}
