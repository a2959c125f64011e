#include "tests/support/trainer.h"
#include "compiler/language/canon.h"
#include "compiler/language/check.h"
#include "compiler/language/syntax.h"
#include "worker/protocol/serve.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static void *serve(void *arg) {
    Trainer *t = arg;
    t->code = serve_run(t->theirs, t->threads, NULL, &t->log);
    close(t->theirs);
    return NULL;
}

void trainer_start(Trainer *t, unsigned threads) {
    int pair[2];
    Frame hello;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    *t = (Trainer){.sock = pair[0], .theirs = pair[1], .threads = threads, .log = {LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC)}};
    assert_int_equal(pthread_create(&t->thread, NULL, serve, t), 0);
    assert_int_equal(wire_recv(t->sock, &hello), 1);
    frame_release(&hello);
}

int trainer_finish(Trainer *t) {
    close(t->sock);
    pthread_join(t->thread, NULL);
    close(t->log.fd);
    return t->code;
}

/* ---- data ---- */

void set_column(TestSet *set, const char *name, DType dtype, const uint64_t *dims, uint32_t rank, const double *data) {
    ColumnMsg *c = &set->columns[set->n++];
    if (!set->file.data) buf_init(&set->file);
    *c = (ColumnMsg){.name = (const unsigned char *)name, .name_len = strlen(name), .dtype = (uint8_t)dtype, .rank = rank, .offset = set->file.len};
    for (uint32_t d = 0; d < rank; d++) c->dims[d] = dims[d];
    for (size_t i = 0; i < set->rows * column_elements(c); i++) {
        const float f = (float)data[i];
        if (dtype == DT_F64) buf_put(&set->file, &data[i], sizeof data[i]);
        else if (dtype == DT_F32) buf_put(&set->file, &f, sizeof f);
        else if (dtype == DT_I64) buf_u64(&set->file, (uint64_t)(int64_t)data[i]);
        else buf_u8(&set->file, (uint8_t)data[i]);
    }
}

void set_release(TestSet *set) { buf_release(&set->file); }

static int memfd_of(const void *bytes, size_t len) {
    const int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    return fd;
}

void trainer_data(Trainer *t, DataKind kind, const TestSet *set) {
    Buf body;
    buf_init(&body);
    const int fd = memfd_of(set->file.data, set->file.len);
    wire_put_data(&body, &(DataMsg){.kind = (uint8_t)kind, .name = (const unsigned char *)"r-1", .name_len = 3, .rows = set->rows,
                                    .bytes = set->file.len, .ncolumns = set->n, .columns = (ColumnMsg *)set->columns});
    assert_int_equal(wire_send(t->sock, FRAME_data, 0, &body, fd), 0);
    close(fd);
    buf_release(&body);
}

/* ---- runs ---- */

unsigned char *trainer_canonical(const char *source, size_t *len) {
    Cx cx;
    cx_init(&cx);
    unsigned char *bytes = NULL;
    CX_TRY(&cx) {
        Program *program = program_new(&cx, NAT_DEFAULT);
        syntax_text(&cx, program, source, strlen(source));
        check_program(&cx, program);
        const unsigned char *made = canon_write(&cx, program, len);
        bytes = memcpy(malloc(*len), made, *len);
    }
    if (cx.diag.code) fail_msg("%s: %s", source, cx.diag.message);
    cx_release(&cx);
    return bytes;
}

void trainer_train(Trainer *t, const char *source, const char *spec, const SeenCheckpoint *from) {
    Buf body;
    TrainMsg m = {.spec = (const unsigned char *)spec, .spec_len = strlen(spec), .area_size = from ? from->len : 0};
    unsigned char *program = trainer_canonical(source, &m.program_len);
    const int fd = from ? memfd_of(from->file, from->len) : -1;
    m.program = program;
    buf_init(&body);
    wire_put_train(&body, &m);
    assert_int_equal(wire_send(t->sock, FRAME_train, ++t->id, &body, fd), 0);
    if (fd >= 0) close(fd);
    buf_release(&body);
    free(program);
}

static void add_points(Seen *seen, const ProgressMsg *m) {
    seen->points = realloc(seen->points, (seen->npoints + m->npoints + 1) * sizeof *seen->points);
    assert_non_null(seen->points);
    for (uint32_t i = 0; i < m->npoints; i++) {
        SeenPoint *p = &seen->points[seen->npoints++];
        *p = (SeenPoint){.step = m->points[i].step, .value = m->points[i].value};
        snprintf(p->key, sizeof p->key, "%.*s", (int)m->points[i].key_len, (const char *)m->points[i].key);
    }
}

static void add_checkpoint(Seen *seen, const ProgressMsg *m, Frame *frame) {
    Area area;
    assert_true(area_open(&area, frame->area, m->area_size, true));
    frame->area = -1;
    seen->checkpoints = realloc(seen->checkpoints, (seen->ncheckpoints + 1) * sizeof *seen->checkpoints);
    assert_non_null(seen->checkpoints);
    SeenCheckpoint *c = &seen->checkpoints[seen->ncheckpoints++];
    *c = (SeenCheckpoint){m->step, malloc(area.size), area.size};
    assert_non_null(c->file);
    memcpy(c->file, area.data, area.size);
    area_release(&area);
}

static void take_news(Seen *seen, const ProgressMsg *m, Frame *frame) {
    assert_true(m->step >= seen->step && (!seen->steps || m->steps == seen->steps));
    seen->step = m->step;
    seen->steps = m->steps;
    const int n = (int)m->text_len;
    switch ((ProgressKind)m->kind) {
    case PROGRESS_READY: snprintf(seen->ready, sizeof seen->ready, "%.*s", n, (const char *)m->text); break;
    case PROGRESS_POINTS: add_points(seen, m); break;
    case PROGRESS_CHECKPOINT: add_checkpoint(seen, m, frame); break;
    case PROGRESS_LOG: snprintf(seen->logs + strlen(seen->logs), sizeof seen->logs - strlen(seen->logs), "%.*s\n", n, (const char *)m->text); break;
    case PROGRESS_END:
        snprintf(seen->end, sizeof seen->end, "%.*s", n, (const char *)m->text);
        seen->code = (ErrCode)m->code;
        seen->stopped = m->stopped;
        break;
    }
}

void trainer_watch(Trainer *t, uint64_t stop_at, Seen *seen) {
    *seen = (Seen){0};
    for (bool over = false; !over;) {
        Frame frame;
        ProgressMsg m;
        assert_int_equal(wire_recv(t->sock, &frame), 1);
        assert_true(frame.id == t->id && wire_get_progress(&frame, &m));
        take_news(seen, &m, &frame);
        over = m.kind == PROGRESS_END;
        if (m.step >= stop_at && !over) {
            assert_int_equal(wire_send(t->sock, FRAME_stop, t->id, NULL, -1), 0);
            stop_at = UINT64_MAX;
        }
        if (m.kind == PROGRESS_CHECKPOINT) assert_int_equal(wire_send(t->sock, FRAME_saved, t->id, NULL, -1), 0);
        progress_msg_release(&m);
        frame_release(&frame);
    }
}

void seen_release(Seen *seen) {
    for (size_t i = 0; i < seen->ncheckpoints; i++) free(seen->checkpoints[i].file);
    free(seen->checkpoints);
    free(seen->points);
}

double seen_at(const Seen *seen, const char *key, uint64_t step) {
    const SeenPoint *found = NULL;
    for (size_t i = 0; i < seen->npoints; i++) {
        const SeenPoint *p = &seen->points[i];
        if (strcmp(p->key, key) != 0 || p->step != step) continue;
        if (found) fail_msg("%s stands twice at step %llu", key, (unsigned long long)step);
        found = p;
    }
    if (!found) fail_msg("there is no %s at step %llu", key, (unsigned long long)step);
    return found->value;
}

const SeenCheckpoint *seen_last(const Seen *seen) {
    assert_true(seen->ncheckpoints > 0);
    return &seen->checkpoints[seen->ncheckpoints - 1];
}
