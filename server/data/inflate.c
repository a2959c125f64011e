#include "server/data/inflate.h"
#include <stdlib.h>
#include <zlib.h>

/* The windows say to zlib what is around the stream. */
enum { PIECE = 256 * 1024, WINDOW_GZIP = 15 + 16, WINDOW_RAW = -15 };

bool inflate_is_gzip(const unsigned char *in, size_t len) { return len >= 2 && in[0] == 0x1f && in[1] == 0x8b; }

typedef struct {
    const unsigned char *in;
    size_t left, most, total;
    unsigned char *out;
    InflateSink *sink;
    void *arg;
} Inflating;

static ErrCode hand_on(Inflating *s, size_t n) {
    if (n > s->most - s->total) return ERR_body_too_large;
    s->total += n;
    return n ? s->sink(s->arg, s->out, n) : ERR_NONE;
}

/* One member or stream, to its end. */
static ErrCode inflate_stream(Inflating *s, z_stream *z) {
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

static bool only_zeros(const unsigned char *in, size_t len) {
    while (len && !in[len - 1]) len--;
    return !len;
}

/* A gzip member begins with no zero. */
static ErrCode inflate_members(Inflating *s, z_stream *z) {
    ErrCode code = inflate_stream(s, z);
    while (code == ERR_NONE && s->left && *s->in) {
        inflateReset(z);
        code = inflate_stream(s, z);
    }
    return code == ERR_NONE && !only_zeros(s->in, s->left) ? ERR_bad_tensor : code;
}

static ErrCode inflate_single(Inflating *s, z_stream *z) {
    ErrCode code = inflate_stream(s, z);
    return code == ERR_NONE && s->left ? ERR_bad_tensor : code;
}

static ErrCode run(Inflating s, int window, ErrCode (*streams)(Inflating *, z_stream *)) {
    z_stream z = {0};
    s.out = malloc(PIECE);
    if (!s.out || inflateInit2(&z, window) != Z_OK) {
        free(s.out);
        return ERR_internal;
    }
    ErrCode code = streams(&s, &z);
    inflateEnd(&z);
    free(s.out);
    return code;
}

ErrCode inflate_gzip(const unsigned char *in, size_t len, size_t most, InflateSink *sink, void *arg) {
    return run((Inflating){.in = in, .left = len, .most = most, .sink = sink, .arg = arg}, WINDOW_GZIP, inflate_members);
}

ErrCode inflate_raw(const unsigned char *in, size_t len, size_t most, InflateSink *sink, void *arg) {
    return run((Inflating){.in = in, .left = len, .most = most, .sink = sink, .arg = arg}, WINDOW_RAW, inflate_single);
}
