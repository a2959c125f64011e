/* A few threads for what would hold the event loop up: large bodies, long programs, SQLite writes.
 *
 * A Task is embedded in its owner. `work` runs on a thread, then `done` in the loop; the owner touches nothing of the task's data in
 * between. tasks_free waits for what is running and drops nothing: queued tasks are worked off first (their `done` may then be left
 * unrun). */
#ifndef CAJAL_TASKS_H
#define CAJAL_TASKS_H
#include "server/loop.h"

typedef struct Tasks Tasks;
typedef struct Task {
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
    Post post; /* the module's from here */
    struct Task *next;
} Task;

Tasks *tasks_new(Loop *loop, int threads); /* NULL when threads cannot be had */
void tasks_free(Tasks *tasks);
void tasks_add(Tasks *tasks, Task *task);
#endif
