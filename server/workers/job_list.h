/* A job as it waits, travels and comes back, and lists of jobs. For this room only; to others a Job is opaque (job.h).
 *
 * Ownership: a job is in one list at a time, whose owner has it. */
#ifndef CAJAL_JOB_LIST_H
#define CAJAL_JOB_LIST_H
#include "server/workers/job.h"

struct Batch;
struct QueueParty;

typedef enum { LANE_SHORT, LANE_LONG, LANES } Lane;

struct Job {
    JobSpec spec;
    double cost;            /* multiply-adds, about; -1: unknown */
    bool cancelled;
    bool trial;             /* its culprit's (quarantine.h) */
    unsigned company;       /* how many it may travel with at most, itself counted; 0: with any number */
    /* blame.h's */
    unsigned misses, deaths, kills; /* that it could not be given to a worker; proofs against it; SIGKILLs in a row that it was alone in */
    int64_t killed;         /* when the last of these was */
    /* queue.h's */
    struct QueueParty *party;
    Lane lane;
    bool waits, unknown;
    uint64_t arrival;
    struct Batch *batch;    /* it is under way in this one; NULL: it is not */
    uint32_t item;          /* of the batch */
    size_t row0;            /* where its rows begin among the item's */
    int64_t queued, waited; /* when it came; nanoseconds until it was sent */
    Job *prev, *next;
    char culprit[]; /* spec's, copied */
};

typedef struct {
    Job *first, *last;
    size_t count;
} JobList;

void job_free(Job *job);
void job_list_add(JobList *list, Job *job, bool front);
void job_list_remove(JobList *list, Job *job);
void job_list_clear(JobList *list); /* frees the jobs */
#endif
