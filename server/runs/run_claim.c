#include "server/runs/run_claim.h"
#include <stdio.h>
#include <string.h>

bool run_claim(RunClaims *claims, RunClaim *claim, RunClaimKind kind, const char *id) {
    for (const RunClaim *other = claims->first[kind == RUN_USE ? RUN_DELETION : RUN_USE]; other; other = other->next)
        if (strcmp(other->id, id) == 0) return false;
    snprintf(claim->id, sizeof claim->id, "%s", id);
    claim->list = &claims->first[kind];
    claim->prev = NULL;
    claim->next = *claim->list;
    if (claim->next) claim->next->prev = claim;
    *claim->list = claim;
    return true;
}

void run_claim_drop(RunClaim *claim) {
    if (!claim->list) return;
    *(claim->prev ? &claim->prev->next : claim->list) = claim->next;
    if (claim->next) claim->next->prev = claim->prev;
    claim->list = NULL;
}
