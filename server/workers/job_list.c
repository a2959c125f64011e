#include "server/workers/job_list.h"
#include <stdlib.h>

void job_free(Job *job) {
    buf_release(&job->spec.body);
    free(job);
}

void job_list_add(JobList *list, Job *job, bool front) {
    job->prev = front ? NULL : list->last;
    job->next = front ? list->first : NULL;
    *(job->prev ? &job->prev->next : &list->first) = job;
    *(job->next ? &job->next->prev : &list->last) = job;
    list->count++;
}

void job_list_remove(JobList *list, Job *job) {
    *(job->prev ? &job->prev->next : &list->first) = job->next;
    *(job->next ? &job->next->prev : &list->last) = job->prev;
    list->count--;
}

void job_list_clear(JobList *list) {
    for (Job *job; (job = list->first);) {
        job_list_remove(list, job);
        job_free(job);
    }
}
