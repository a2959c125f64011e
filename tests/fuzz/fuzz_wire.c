/* Frames. The first byte is the type of a body, or 255: the rest is a packet on the socket. What a get takes, its put writes. */
#include "schema/limits.h"
#include "schema/protocol/wire_train.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void require_same(const Frame *frame, const Buf *again) {
    fuzz_require(!again->failed && again->len == frame->len && (!again->len || !memcmp(again->data, frame->body, again->len)),
                 "a message has one encoding");
}

/* What wire_get_exec promises its readers. */
static void check_run(const ExecMsg *m) {
    fuzz_require(m->rows && m->results_at <= m->area_size, "a run has rows, and results behind its inputs");
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const TensorMsg *t = &m->tensors[i];
        fuzz_require(t->dtype < DT_COUNT && t->offset <= m->results_at && t->discrete <= 2, "a tensor lies in the inputs' part");
    }
    for (uint32_t i = 0; i < m->nresults; i++) fuzz_require(m->results[i].offset < m->area_size, "a result lies in the area");
}

#define TRY(Msg, name) \
    case FRAME_##name: { \
        Msg m; \
        if (!wire_get_##name(frame, &m)) break; \
        wire_put_##name(&again, &m); \
        require_same(frame, &again); \
        break; \
    }

/* The same with lists to release. */
#define TRY_LIST(Msg, name) \
    case FRAME_##name: { \
        Msg m; \
        if (!wire_get_##name(frame, &m)) break; \
        wire_put_##name(&again, &m); \
        require_same(frame, &again); \
        name##_msg_release(&m); \
        break; \
    }

static void check_members(const Frame *whole);

static void check(const Frame *frame) {
    Buf again;
    ExecMsg run;
    buf_init(&again);
    switch (frame->type) {
        TRY(HelloMsg, hello)
        TRY(BuildMsg, build)
        TRY(BuiltMsg, built)
        TRY(LoadMsg, load)
        TRY(DropMsg, drop)
        TRY(ExecutedMsg, executed)
        TRY(LinkedMsg, linked)
        TRY(TrainMsg, train)
        TRY_LIST(LinkMsg, link)
        TRY_LIST(DataMsg, data)
        TRY_LIST(ProgressMsg, progress)
    case FRAME_exec:
        if (!wire_get_exec(frame, &run)) break;
        check_run(&run);
        wire_put_exec(&again, &run);
        require_same(frame, &again);
        exec_msg_release(&run);
        break;
    case FRAME_exec_batch:
    case FRAME_executed_batch: check_members(frame); break;
    default: break;
    }
    buf_release(&again);
}

/* A member is a single run or ran, so this nests once. */
static void check_members(const Frame *whole) {
    Reader in = reader_of(whole->body, whole->len);
    Frame member;
    while (wire_next_member(whole, &in, &member)) {
        fuzz_require(member.len <= whole->len && member.area < 0, "a member lies in its frame");
        check(&member);
    }
}

static void check_packet(const uint8_t *data, size_t size) {
    int pair[2];
    Frame frame;
    if (size > WIRE_PACKET || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) return;
    if (send(pair[0], data, size, MSG_NOSIGNAL) == (ssize_t)size && wire_recv(pair[1], &frame) == 1) {
        check(&frame);
        frame_release(&frame);
    }
    close(pair[0]);
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    if (*data == 255) {
        check_packet(data + 1, size - 1);
        return 0;
    }
    /* in memory of its own, so that a read past the end is seen; the top bit: the frame brings a descriptor */
    Frame frame = {.type = (FrameType)(*data & 0x7f), .len = size - 1, .body = malloc(size), .area = *data & 0x80 ? STDIN_FILENO : -1};
    if (!frame.body || frame.type >= FRAME_TYPES) {
        free(frame.body);
        return 0;
    }
    memcpy(frame.body, data + 1, size - 1);
    check(&frame);
    free(frame.body);
    return 0;
}
