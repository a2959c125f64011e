/* What has been proved to kill workers, and is not run for a while.
 *
 * A proof is a death that dispatch charges to a job (blame.h). After PROOFS of them the culprit is held: a minute at first, twice as long after each
 * further proof, at most LONGEST_NS. When the time is over one job of it is let through, the trial: while it is under way the others are still held.
 * An answer takes all proofs back. A culprit is forgotten QUIET_NS after it was last held or blamed; of more than LIMIT_QUARANTINE those go first
 * that were blamed longest ago. Times are loop_now()'s. A culprit of NULL is nobody. */
#ifndef CAJAL_QUARANTINE_H
#define CAJAL_QUARANTINE_H
#include "schema/base/map.h"

#define QUARANTINE_NS ((int64_t)60 * 1000000000)
#define QUARANTINE_LONGEST_NS (64 * QUARANTINE_NS)
#define QUARANTINE_QUIET_NS (60 * QUARANTINE_NS)
enum { QUARANTINE_PROOFS = 2 };

typedef struct {
    Map by_name;
    struct Culprit *first, *last; /* by the time of the last proof */
} Quarantine;

/* UNKNOWN: nothing speaks against it. SUSPECT: there is a proof. HELD: it is not run. DUE: the trial may be made. */
typedef enum { CULPRIT_UNKNOWN, CULPRIT_SUSPECT, CULPRIT_HELD, CULPRIT_DUE } CulpritState;

void quarantine_release(Quarantine *q);
CulpritState quarantine_state(const Quarantine *q, const char *name, int64_t now);
/* Whole seconds until the trial may be made, at least 1. */
unsigned quarantine_seconds(const Quarantine *q, const char *name, int64_t now);
/* A proof. When memory is short nobody is blamed. */
void quarantine_blame(Quarantine *q, const char *name, int64_t now);
void quarantine_absolve(Quarantine *q, const char *name);
/* The trial begins; it has ended, proved anything or not. */
void quarantine_begin_trial(Quarantine *q, const char *name);
void quarantine_end_trial(Quarantine *q, const char *name);
#endif
