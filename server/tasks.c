#include "server/tasks.h"
#include <pthread.h>
#include <stdlib.h>

struct Tasks {
    Loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t more;
    Task *first, **end;
    bool stop;
    int nthreads;
    pthread_t threads[];
};

static void *thread_main(void *arg) {
    Tasks *tasks = arg;
    pthread_mutex_lock(&tasks->lock);
    for (;;) {
        while (!tasks->first && !tasks->stop) pthread_cond_wait(&tasks->more, &tasks->lock);
        Task *task = tasks->first;
        if (!task) break;
        tasks->first = task->next;
        if (!tasks->first) tasks->end = &tasks->first;
        pthread_mutex_unlock(&tasks->lock);
        task->work(task->arg);
        task->post = (Post){.run = task->done, .arg = task->arg};
        loop_post(tasks->loop, &task->post);
        pthread_mutex_lock(&tasks->lock);
    }
    pthread_mutex_unlock(&tasks->lock);
    return NULL;
}

Tasks *tasks_new(Loop *loop, int threads) {
    Tasks *tasks = calloc(1, sizeof *tasks + (size_t)threads * sizeof(pthread_t));
    if (!tasks) return NULL;
    tasks->loop = loop;
    tasks->end = &tasks->first;
    pthread_mutex_init(&tasks->lock, NULL);
    pthread_cond_init(&tasks->more, NULL);
    while (tasks->nthreads < threads && pthread_create(&tasks->threads[tasks->nthreads], NULL, thread_main, tasks) == 0)
        tasks->nthreads++;
    if (tasks->nthreads) return tasks;
    tasks_free(tasks);
    return NULL;
}

void tasks_free(Tasks *tasks) {
    if (!tasks) return;
    pthread_mutex_lock(&tasks->lock);
    tasks->stop = true;
    pthread_cond_broadcast(&tasks->more);
    pthread_mutex_unlock(&tasks->lock);
    for (int i = 0; i < tasks->nthreads; i++) pthread_join(tasks->threads[i], NULL);
    pthread_mutex_destroy(&tasks->lock);
    pthread_cond_destroy(&tasks->more);
    free(tasks);
}

void tasks_add(Tasks *tasks, Task *task) {
    task->next = NULL;
    pthread_mutex_lock(&tasks->lock);
    *tasks->end = task;
    tasks->end = &task->next;
    pthread_cond_signal(&tasks->more);
    pthread_mutex_unlock(&tasks->lock);
}
