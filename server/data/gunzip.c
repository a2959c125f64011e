#include "server/data/gunzip.h"
#include <stdlib.h>
#include <zlib.h>

enum { PIECE = 256 * 1024, GZIP_WINDOW = 15 + 16 };

bool gunzip_is(const unsigned char *in, size_t len) { return len >= 2 && in[0] == 0x1f && in[1] == 0x8b; }

typedef struct {
    const unsigned char *in;
    size_t left, most, total;
    unsigned char *out;
    GunzipSink *sink;
    void *arg;
} Inflating;

static ErrCode hand_on(Inflating *s, size_t n) {
    if (n > s->most - s->total) return ERR_body_too_large;
    s->total += n;
    return n ? s->sink(s->arg, s->out, n) : ERR_NONE;
}

/* One member, to its end. */
static ErrCode inflate_member(Inflating *s, z_stream *z) {
    for (;;) {
        uInt given = s->left < PIECE ? (uInt)s->left : PIECE;
        z->next_in = (unsigned char *)s->in; /* zlib does not write there */
        z->avail_in = given;
        z->next_out = s->out;
        z->avail_out = PIECE;
        int code = inflate(z, Z_NO_FLUSH);
        s->in += given - z->avail_in;
        s->left -= given - z->avail_in;
        if (code == Z_MEM_ERROR) return ERR_internal;
        if (code != Z_OK && code != Z_STREAM_END) return ERR_bad_tensor; /* Z_BUF_ERROR: it wants more than there is */
        ErrCode taken = hand_on(s, PIECE - z->avail_out);
        if (taken != ERR_NONE || code == Z_STREAM_END) return taken;
    }
}

ErrCode gunzip(const unsigned char *in, size_t len, size_t most, GunzipSink *sink, void *arg) {
    Inflating s = {.in = in, .left = len, .most = most, .out = malloc(PIECE), .sink = sink, .arg = arg};
    z_stream z = {0};
    if (!s.out || inflateInit2(&z, GZIP_WINDOW) != Z_OK) {
        free(s.out);
        return ERR_internal;
    }
    ErrCode code = len ? ERR_NONE : ERR_bad_tensor;
    while (code == ERR_NONE && s.left) {
        code = inflate_member(&s, &z);
        inflateReset(&z);
    }
    inflateEnd(&z);
    free(s.out);
    return code;
}
