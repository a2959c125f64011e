#include "server/loop.h"
#include "schema/base/time.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64 };

struct Loop {
    int epoll, wake;
    bool stop;
    struct epoll_event events[BATCH]; /* those of this pass; unwatching clears what is left */
    int nevents;
    Timer *first, *last; /* by due time */
    pthread_mutex_t lock; /* guards the posts */
    Post *posts, **posts_end;
    int (*idle)(void *);
    void *idle_arg;
    int64_t longest; /* pass, nanoseconds */
};

Loop *loop_new(void) {
    Loop *loop = calloc(1, sizeof *loop);
    if (!loop) return NULL;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->posts_end = &loop->posts;
    pthread_mutex_init(&loop->lock, NULL);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (loop->epoll < 0 || loop->wake < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &ev) != 0) {
        loop_free(loop);
        return NULL;
    }
    return loop;
}

void loop_free(Loop *loop) {
    if (!loop) return;
    if (loop->epoll >= 0) close(loop->epoll);
    if (loop->wake >= 0) close(loop->wake);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

int64_t loop_now(void) { return time_monotonic_ns(); }

bool loop_watch(Loop *loop, Watch *watch) {
    struct epoll_event ev = {.events = watch->events, .data.ptr = watch};
    watch->on = epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &ev) == 0;
    return watch->on;
}

bool loop_rewatch(Loop *loop, Watch *watch, uint32_t events) {
    if (!watch->on || watch->events == events) return watch->on;
    watch->events = events;
    struct epoll_event ev = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &ev) == 0;
}

void loop_unwatch(Loop *loop, Watch *watch) {
    if (!watch->on) return;
    watch->on = false;
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = 0; i < loop->nevents; i++)
        if (loop->events[i].data.ptr == watch) loop->events[i].events = 0;
}

void loop_untimer(Loop *loop, Timer *timer) {
    if (!timer->on) return;
    *(timer->prev ? &timer->prev->next : &loop->first) = timer->next;
    *(timer->next ? &timer->next->prev : &loop->last) = timer->prev;
    timer->on = false;
}

/* Looks for the place from the end: most timers run for the same default deadline and so belong there. */
void loop_timer(Loop *loop, Timer *timer, int64_t due) {
    loop_untimer(loop, timer);
    Timer *before = loop->last;
    while (before && before->due > due) before = before->prev;
    timer->due = due;
    timer->on = true;
    timer->prev = before;
    timer->next = before ? before->next : loop->first;
    *(timer->prev ? &timer->prev->next : &loop->first) = timer;
    *(timer->next ? &timer->next->prev : &loop->last) = timer;
}

static void wake(Loop *loop) {
    uint64_t one = 1;
    /* Full means it is readable already, which is all that is wanted. */
    if (write(loop->wake, &one, sizeof one) < 0) return;
}

void loop_post(Loop *loop, Post *post) {
    post->next = NULL;
    pthread_mutex_lock(&loop->lock);
    bool first = !loop->posts;
    *loop->posts_end = post;
    loop->posts_end = &post->next;
    pthread_mutex_unlock(&loop->lock);
    if (first) wake(loop);
}

static void run_posts(Loop *loop) {
    pthread_mutex_lock(&loop->lock);
    Post *post = loop->posts, *next;
    loop->posts = NULL;
    loop->posts_end = &loop->posts;
    pthread_mutex_unlock(&loop->lock);
    for (; post; post = next) {
        next = post->next;
        post->run(post->arg);
    }
}

static void run_timers(Loop *loop) {
    int64_t now = loop_now();
    while (loop->first && loop->first->due <= now) {
        Timer *timer = loop->first;
        loop_untimer(loop, timer);
        timer->fire(timer->arg);
    }
}

static void drain_wake(Loop *loop) {
    uint64_t count;
    if (read(loop->wake, &count, sizeof count) < 0) return;
}

static void run_events(Loop *loop) {
    for (int i = 0; i < loop->nevents; i++) {
        Watch *watch = loop->events[i].data.ptr;
        if (!watch) drain_wake(loop);
        else if (loop->events[i].events) watch->ready(watch->arg, loop->events[i].events);
    }
    loop->nevents = 0;
}

void loop_on_idle(Loop *loop, int (*idle)(void *arg), void *arg) {
    loop->idle = idle;
    loop->idle_arg = arg;
}

static int sleep_ms(const Loop *loop, int idle) {
    if (!loop->first) return idle;
    int64_t left = loop->first->due - loop_now();
    int64_t ms = left <= 0 ? 0 : left / 1000000 + 1;
    if (ms > 3600000) ms = 3600000;
    return idle >= 0 && idle < ms ? idle : (int)ms;
}

int64_t loop_longest(Loop *loop) {
    const int64_t longest = loop->longest;
    loop->longest = 0;
    return longest;
}

void loop_run(Loop *loop) {
    int64_t awake = loop_now();
    while (!loop->stop) {
        int idle = loop->idle ? loop->idle(loop->idle_arg) : -1;
        const int64_t pass = loop_now() - awake;
        if (pass > loop->longest) loop->longest = pass;
        if (loop->stop) break;
        int n = epoll_wait(loop->epoll, loop->events, BATCH, sleep_ms(loop, idle));
        loop->nevents = n < 0 ? 0 : n;
        awake = loop_now();
        run_events(loop);
        run_timers(loop);
        run_posts(loop);
    }
    loop->stop = false;
}

void loop_stop(Loop *loop) { loop->stop = true; }

void loop_drain(Loop *loop) {
    while (loop->posts) run_posts(loop);
}
