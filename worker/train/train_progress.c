#include "worker/train/train_progress.h"
#include "worker/post.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

bool news_init(News *news, int sock, uint64_t id) {
    *news = (News){.sock = sock, .id = id, .sent_ns = now_ns()};
    news->points = calloc(WIRE_NEWS_VALUES, sizeof *news->points);
    return news->points != NULL;
}

void news_release(News *news) {
    free(news->points);
    news->points = NULL;
}

static void post(News *news, NewsMsg m, int area) {
    Buf body;
    if (news->ended) return;
    m.step = news->step;
    m.steps = news->steps;
    m.epoch = news->epoch;
    buf_init(&body);
    wire_put_news(&body, &m);
    news->ended = post_frame(news->sock, FRAME_news, news->id, &body, area) < 0;
    buf_release(&body);
}

static void flush(News *news) {
    news->sent_ns = now_ns();
    if (!news->npoints) return;
    post(news, (NewsMsg){.kind = NEWS_POINTS, .npoints = news->npoints, .points = news->points}, -1);
    news->npoints = 0;
}

void news_point(News *news, const char *key, double value) {
    news->points[news->npoints++] = (PointMsg){(const unsigned char *)key, strlen(key), news->step, value};
    if (news->npoints == WIRE_NEWS_VALUES) flush(news);
}

/* False when the frame has no business here. */
static bool answer(News *news, const Frame *frame) {
    if (frame->len) return false;
    switch (frame->type) {
    case FRAME_stop: news->stop = true; return true;
    case FRAME_saved:
        if (!news->unsaved) return false;
        news->unsaved--;
        return true;
    case FRAME_ping: news->ended = post_frame(news->sock, FRAME_pong, frame->id, NULL, -1) < 0; return true;
    default: return false;
    }
}

/* What has come meanwhile, without waiting for more. */
static void look(News *news) {
    struct pollfd ready = {.fd = news->sock, .events = POLLIN};
    while (!news->ended && poll(&ready, 1, 0) > 0) {
        Frame frame;
        const int result = wire_recv(news->sock, &frame);
        if (result == -EAGAIN) return;
        if (result == 1 && answer(news, &frame)) {
            frame_release(&frame);
            continue;
        }
        news->ended = true;
        news->malformed = result == 1 || (result < 0 && !post_is_end(result));
        frame_release(&frame);
    }
}

bool news_poll(News *news) {
    if (now_ns() - news->sent_ns >= (uint64_t)NEWS_MS * 1000000) flush(news);
    look(news);
    return !news->stop && !news->ended;
}

void news_say(News *news, NewsKind kind, const char *format, ...) {
    Buf text;
    va_list args;
    flush(news);
    buf_init(&text);
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    if (text.failed) news->ended = true;
    post(news, (NewsMsg){.kind = (uint8_t)kind, .text = text.data, .text_len = text.len}, -1);
    buf_release(&text);
}

void news_checkpoint(News *news, const Area *file) {
    flush(news);
    while (!news->ended && news->unsaved == WIRE_CHECKPOINTS) {
        post_wait(news->sock, POLLIN, -1);
        look(news);
    }
    news->unsaved++;
    post(news, (NewsMsg){.kind = NEWS_CHECKPOINT, .area_size = file->size}, file->fd);
}

void news_end(News *news, ErrCode code, const char *text) {
    flush(news);
    post(news, (NewsMsg){.kind = NEWS_END, .code = (uint16_t)code, .stopped = code == ERR_NONE && news->step < news->steps && news->stop,
                         .text = (const unsigned char *)text, .text_len = strlen(text)}, -1);
}
