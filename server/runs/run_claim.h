/* Claims on runs by their ids: to use one, or to delete it. The two exclude each other; claims of the same kind do not.
 *
 * A run that is queued or running claims the use of itself and of the runs that it takes weights from; a request that makes a run claims them
 * from the moment it looks for them until the new run is queued; a deletion claims its run until the row is gone. Who comes second is refused at
 * once, nobody waits: so what a run was accepted with is there when its turn comes. All in the loop's thread.
 * Ownership: a claim is embedded in its owner, zeroed before; it holds until run_claim_drop. */
#ifndef CAJAL_RUN_CLAIM_H
#define CAJAL_RUN_CLAIM_H
#include "server/store/store_runs.h"

typedef enum { RUN_USE, RUN_DELETION, RUN_CLAIM_KINDS } RunClaimKind;

typedef struct RunClaim {
    char id[RUN_ID + 1];
    struct RunClaim **list; /* the one it stands in; NULL: it does not hold */
    struct RunClaim *prev, *next;
} RunClaim;

typedef struct {
    RunClaim *first[RUN_CLAIM_KINDS];
} RunClaims;

/* False: there is a claim of the other kind on the run, and `claim` does not hold. */
bool run_claim(RunClaims *claims, RunClaim *claim, RunClaimKind kind, const char *id);
void run_claim_drop(RunClaim *claim); /* harmless when it does not hold */
#endif
