#include "worker/train/train_progress.h"
#include "worker/post.h"
#include "schema/base/time.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

bool progress_init(Progress *progress, int sock, uint64_t id) {
    *progress = (Progress){.sock = sock, .id = id, .sent_ns = (uint64_t)time_monotonic_ns()};
    progress->points = calloc(WIRE_PROGRESS_VALUES, sizeof *progress->points);
    return progress->points != NULL;
}

void progress_release(Progress *progress) {
    free(progress->points);
    progress->points = NULL;
}

static void post(Progress *progress, ProgressMsg m, int area) {
    Buf body;
    if (progress->ended) return;
    m.step = progress->step;
    m.steps = progress->steps;
    m.epoch = progress->epoch;
    buf_init(&body);
    wire_put_progress(&body, &m);
    progress->ended = post_frame(progress->sock, FRAME_progress, progress->id, &body, area) < 0;
    buf_release(&body);
}

static void flush(Progress *progress) {
    progress->sent_ns = (uint64_t)time_monotonic_ns();
    if (!progress->npoints) return;
    post(progress, (ProgressMsg){.kind = PROGRESS_POINTS, .npoints = progress->npoints, .points = progress->points}, -1);
    progress->npoints = 0;
}

void progress_point(Progress *progress, const char *key, double value) {
    progress->points[progress->npoints++] = (PointMsg){(const unsigned char *)key, strlen(key), progress->step, value};
    if (progress->npoints == WIRE_PROGRESS_VALUES) flush(progress);
}

/* False when the frame has no business here. */
static bool answer(Progress *progress, const Frame *frame) {
    if (frame->len) return false;
    switch (frame->type) {
    case FRAME_stop: progress->stop = true; return true;
    case FRAME_saved:
        if (!progress->unsaved) return false;
        progress->unsaved--;
        return true;
    case FRAME_ping: progress->ended = post_frame(progress->sock, FRAME_pong, frame->id, NULL, -1) < 0; return true;
    default: return false;
    }
}

/* What has come meanwhile, without waiting for more. */
static void look(Progress *progress) {
    struct pollfd ready = {.fd = progress->sock, .events = POLLIN};
    while (!progress->ended && poll(&ready, 1, 0) > 0) {
        Frame frame;
        const int result = wire_recv(progress->sock, &frame);
        if (result == -EAGAIN) return;
        if (result == 1 && answer(progress, &frame)) {
            frame_release(&frame);
            continue;
        }
        progress->ended = true;
        progress->malformed = result == 1 || (result < 0 && !post_is_end(result));
        frame_release(&frame);
    }
}

bool progress_poll(Progress *progress) {
    if ((uint64_t)time_monotonic_ns() - progress->sent_ns >= (uint64_t)PROGRESS_MS * 1000000) flush(progress);
    look(progress);
    return !progress->stop && !progress->ended;
}

void progress_say(Progress *progress, ProgressKind kind, const char *format, ...) {
    Buf text;
    va_list args;
    flush(progress);
    buf_init(&text);
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    if (text.failed) progress->ended = true;
    post(progress, (ProgressMsg){.kind = (uint8_t)kind, .text = text.data, .text_len = text.len}, -1);
    buf_release(&text);
}

void progress_checkpoint(Progress *progress, const Area *file) {
    flush(progress);
    while (!progress->ended && progress->unsaved == WIRE_CHECKPOINTS) {
        post_wait(progress->sock, POLLIN, -1);
        look(progress);
    }
    progress->unsaved++;
    post(progress, (ProgressMsg){.kind = PROGRESS_CHECKPOINT, .area_size = file->size}, file->fd);
}

void progress_end(Progress *progress, ErrCode code, const char *text) {
    flush(progress);
    post(progress, (ProgressMsg){.kind = PROGRESS_END, .code = (uint16_t)code, .stopped = code == ERR_NONE && progress->step < progress->steps && progress->stop,
                         .text = (const unsigned char *)text, .text_len = strlen(text)}, -1);
}
