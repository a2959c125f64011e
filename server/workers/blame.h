/* A worker has died while it was at some jobs: what is to become of each of them, and what is held against what it runs.
 *
 * A death is charged to a job only when that was alone in the worker and the death its own doing: a fault, an exit, the server's limit on execution.
 * After a first proof it is tried once more; two proofs against a program are its quarantine (quarantine.h). What kills from outside, be it the
 * kernel when memory is short, charges nobody; only a job that was alone in KILLS workers running that got SIGKILL, while no other worker died
 * within a second of each, is not tried again, as it is most likely what they were killed for. Jobs that were merely present are tried again, in
 * parcels of which each is PARCELS times smaller, and in the end alone. */
#ifndef CAJAL_BLAME_H
#define CAJAL_BLAME_H
#include "server/workers/job_list.h"
#include "server/workers/pool.h"
#include "server/workers/quarantine.h"

#define BLAME_NEIGHBOUR_NS ((int64_t)1000000000) /* a second */

/* A worker's last death that was no end of the daemon's making. */
typedef struct {
    int64_t when; /* 0: it has not died */
    uint64_t job; /* its arrival, when it was alone in it; else 0 */
} LastDeath;

typedef struct {
    WorkerEnd end;
    int worker;             /* which one */
    int64_t when;
    size_t members;         /* jobs that it was at */
    uint64_t job;           /* as in LastDeath */
    const LastDeath *deaths; /* of all workers, this one's included */
    int workers;
} Death;

/* RETRY: it goes back to the queue. HOLD: it waits for a second whether another worker dies; then, with blame_is_proved, CRASH, else RETRY. CRASH, LIMIT: it
 * has killed its workers; it ran for too long. UNSENT: it could not be given to a worker, again. */
typedef enum { VERDICT_RETRY, VERDICT_HOLD, VERDICT_CRASH, VERDICT_LIMIT, VERDICT_UNSENT } Verdict;

Verdict blame_judge(Job *job, const Death *death, Quarantine *quarantine);
/* Another job's worker has died: kills of about the same time prove nothing. */
void blame_spoil(Job *job, const Death *death);
bool blame_is_proved(const Job *job);
#endif
