/* An errand: what a handler has under way for a call that it does not answer at once.
 *
 *     handler            errand_begin, then errand_work or whatever else calls back in the loop (a job, a Resolve)
 *     work    (thread)   reads, computes, writes; leaves why not in errand.err and returns false
 *     next    (loop)     what follows: more work, a worker's job (errand_job), or the answer and errand_end
 *
 * The struct that a handler keeps its things in has an Errand as its first member, and so is passed as the void * that all of these get. It
 * lies in the call's memory, zeroed, and lasts until errand_end, which every errand comes to exactly once.
 *
 * When the client has gone or the deadline has passed (call.h) the errand is over as soon as no thread has it: errand_end is called, and with it
 * `release`, which takes back what is still under way; a job is cancelled. `next` does not run then. One that must be carried through (a deletion, say)
 * is `lasting`: its steps run all the same, and only its answer goes nowhere.
 * Everything runs in the loop's thread but `work`. */
#ifndef CAJAL_ERRAND_H
#define CAJAL_ERRAND_H
#include "server/http/call.h"
#include <stdatomic.h>

/* What all errands of one handler have in common. Static. */
typedef struct {
    size_t size;                 /* of the struct around the Errand */
    void (*release)(void *arg);  /* what it owns beyond the call's memory, and jobs of its own; NULL: nothing */
    void (*scrap)(void *arg);    /* after release: frees what may be large and is nobody else's, on a thread where it is; NULL: there is nothing such */
    void (*refuse)(void *arg);   /* answers when work returned false, or a job has no reply; NULL: call_fail_err with err */
    bool lasting;                /* from its beginning */
} ErrandKind;

typedef struct {
    Call *call;
    const ErrandKind *kind;
    Err err;               /* code ERR_NONE: nothing is wrong */
    atomic_bool cancelled; /* nobody waits for it: work that takes long looks now and then */
    bool lasting;          /* set in the loop, before the step from which on it is carried through */
    bool large;            /* what scrap frees is; a long JSON body says so by itself */
    bool abandoned;        /* in `release`: its job was cancelled, and what was lent to it may still be written to */
    /* the module's */
    bool (*work)(void *arg);
    void (*next)(void *arg);
    Task task;
    Job *job;
    void (*job_done)(void *arg, const JobResult *result);
    bool ok, busy;         /* what work returned; a thread has it */
} Errand;

/* NULL: answered with internal, memory is short. */
void *errand_begin(Call *call, const ErrandKind *kind);
/* Runs `work`, then `next`; on a thread of `tasks`, or with NULL here and now. The last thing its caller does with the errand. */
void errand_work(void *arg, Tasks *tasks, bool (*work)(void *arg), void (*next)(void *arg));
/* Gives a worker a job, then runs `done` in the loop with its reply; when there is none, or the job cannot be taken at all, the errand ends with
 * errand_refuse. spec's party, done and arg are filled in here. The last thing its caller does with the errand. */
void errand_job(void *arg, JobSpec *spec, void (*done)(void *arg, const JobResult *result));
/* Lets go of everything, the errand itself included. */
void errand_end(void *arg);

/* Ways to end with an answer; the body is taken over. */
void errand_answer(void *arg, int status, const char *type, Buf *body);
void errand_fail(void *arg, ErrCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void errand_refuse(void *arg); /* with err, as kind->refuse has it */
#endif
