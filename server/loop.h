/* The daemon's event loop: descriptors (epoll), timers, and posts from other threads; one thread runs it all.
 *
 * Watch, Timer and Post are embedded in their owners and must outlive their registration; nothing here allocates after loop_new.
 * Callbacks may register and unregister anything, themselves included. Times are nanoseconds of CLOCK_MONOTONIC. */
#ifndef CAJAL_LOOP_H
#define CAJAL_LOOP_H
#include <stdbool.h>
#include <stdint.h>

typedef struct Loop Loop;

typedef struct {
    int fd;
    uint32_t events; /* EPOLL…, level-triggered */
    void (*ready)(void *arg, uint32_t events);
    void *arg;
    bool on; /* the loop's */
} Watch;

typedef struct Timer {
    void (*fire)(void *arg);
    void *arg;
    int64_t due;               /* the loop's from here */
    struct Timer *prev, *next;
    bool on;
} Timer;

typedef struct Post {
    void (*run)(void *arg);
    void *arg;
    struct Post *next; /* the loop's */
} Post;

Loop *loop_new(void); /* NULL when the kernel refuses */
void loop_free(Loop *loop);
int64_t loop_now(void);

/* False with errno when epoll refuses. */
bool loop_watch(Loop *loop, Watch *watch);
bool loop_rewatch(Loop *loop, Watch *watch, uint32_t events);
void loop_unwatch(Loop *loop, Watch *watch); /* before the descriptor is closed; harmless when off */

/* Arms, or moves, a timer. */
void loop_timer(Loop *loop, Timer *timer, int64_t due);
void loop_untimer(Loop *loop, Timer *timer); /* harmless when off */

/* Runs post->run in the loop, soon. From any thread. */
void loop_post(Loop *loop, Post *post);

/* `idle` runs at the end of every pass and returns for how long the loop may sleep, in milliseconds, -1 for ever. */
void loop_on_idle(Loop *loop, int (*idle)(void *arg), void *arg);

/* Nanoseconds of the longest pass since this was last asked for, without its sleep: for so long nobody was heard. */
int64_t loop_longest(Loop *loop);

void loop_run(Loop *loop); /* until loop_stop; may be run again */
void loop_stop(Loop *loop);
void loop_drain(Loop *loop); /* runs the posts there are: for a shutdown, after loop_run */
#endif
