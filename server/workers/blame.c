#include "server/workers/blame.h"

/* MISSES: times that a job cannot be given to a worker, for reasons of the daemon's own. */
enum { KILLS = 3, PARCELS = 4, MISSES = 2 };

/* It was alone in a worker that ended of its own doing. */
static Verdict charge(Job *job, const Death *death, Quarantine *quarantine) {
    quarantine_blame(quarantine, job->spec.culprit, death->when);
    job->company = 1;
    if (death->end == END_LIMIT) return VERDICT_LIMIT;
    const bool held = quarantine_state(quarantine, job->spec.culprit, death->when) == CULPRIT_HELD;
    return ++job->deaths < QUARANTINE_PROOFS && !held ? VERDICT_RETRY : VERDICT_CRASH;
}

/* Another worker has died at about that time, and not while it was at this job. */
static bool others_died(const Job *job, const Death *death) {
    for (int i = 0; i < death->workers; i++) {
        const LastDeath *last = &death->deaths[i];
        if (last->when && last->job != job->arrival && death->when - last->when < BLAME_NEIGHBOUR_NS) return true;
    }
    return false;
}

/* It was alone in a worker that got SIGKILL. */
static Verdict count_kill(Job *job, const Death *death) {
    job->company = 1;
    job->kills = others_died(job, death) ? 0 : job->kills + 1;
    job->killed = death->when;
    return blame_is_proved(job) ? VERDICT_HOLD : VERDICT_RETRY;
}

Verdict blame_judge(Job *job, const Death *death, Quarantine *quarantine) {
    if (death->end == END_MEMORY || death->end == END_UNSENT || death->end == END_UNTAKEN) return ++job->misses < MISSES ? VERDICT_RETRY : VERDICT_UNSENT;
    if (death->members > 1) {
        job->company = death->members < 2 * PARCELS ? 1 : (unsigned)(death->members / PARCELS);
        job->kills = 0;
        return VERDICT_RETRY;
    }
    if (pool_cause(death->end) == CAUSE_OWN || death->end == END_LIMIT) return charge(job, death, quarantine);
    if (death->end == END_KILLED) return count_kill(job, death);
    job->kills = 0;
    return VERDICT_RETRY;
}

void blame_spoil(Job *job, const Death *death) {
    if (job->kills && job->arrival != death->job && death->when - job->killed < BLAME_NEIGHBOUR_NS) job->kills = 0;
}

bool blame_is_proved(const Job *job) { return job->kills >= KILLS; }
