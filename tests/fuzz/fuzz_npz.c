/* npz bodies: refused with one of the codes there are, or tensors that lie in members of the archive or in what was unpacked, of which there is no more
 * than was allowed. */
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include "server/data/npz.h"
#include "tests/fuzz/bulk.h"

enum { MOST = 1 << 16 };

typedef struct {
    unsigned char bytes[MOST];
    size_t len;
} Unpacked;

static ErrCode collect(void *arg, const void *bytes, size_t len) {
    Unpacked *u = arg;
    fuzz_require(len <= MOST - u->len, "no more is unpacked than is allowed");
    memcpy(u->bytes + u->len, bytes, len);
    u->len += len;
    return ERR_NONE;
}

static bool inside(const unsigned char *at, size_t n, const unsigned char *in, size_t len) { return at >= in && n <= len && (size_t)(at - in) <= len - n; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Unpacked *u = calloc(1, sizeof *u);
    Npz npz;
    Bulk other;
    Err err = {0};
    fuzz_require(u != NULL, "there is memory");
    if (npz_unpack(&npz, data, size, MOST, collect, u, &err) && npz_read(&npz, data, u->bytes, &err)) {
        for (size_t i = 0; i < npz.bulk.n; i++) {
            const BulkTensor *t = &npz.bulk.items[i];
            const size_t end = npz.zip.members[i].size;
            fuzz_require(inside(npz.data[i], end, data, size) || inside(npz.data[i], end, u->bytes, u->len), "a member lies in what there is");
            fuzz_require(t->name && t->offset + t->bytes == end, "a tensor is the end of its member");
            bulk_check_conversion(t, npz.data[i] + t->offset);
        }
        Err ignored = {0};
        fuzz_require(!zip_is(data, size) || (!safetensors_read(data, size, &other, &ignored) && !npy_read(data, size, &other, &ignored)),
                     "no other reader takes it");
    } else {
        fuzz_require(err.code == ERR_bad_tensor || err.code == ERR_body_too_large || err.code == ERR_too_large, "a malformed body is told so");
    }
    npz_release(&npz);
    free(u);
    return 0;
}
