/* Who has killed workers, and how many: what dispatch refuses to run again.
 *
 * A culprit is remembered for QUARANTINE_NS after its last deed; of more than LIMIT_QUARANTINE the ones longest quiet are forgotten first.
 * Times are loop_now()'s. A culprit of NULL is nobody. */
#ifndef CAJAL_QUARANTINE_H
#define CAJAL_QUARANTINE_H
#include "schema/base/map.h"

#define QUARANTINE_NS ((int64_t)3600 * 1000000000)

typedef struct {
    Map by_name;
    struct Culprit *first, *last; /* by the time of the last deed */
} Quarantine;

void quarantine_release(Quarantine *q);
unsigned quarantine_deaths(const Quarantine *q, const char *name, int64_t now);
/* When memory is short nobody is blamed. */
void quarantine_blame(Quarantine *q, const char *name, int64_t now);
void quarantine_absolve(Quarantine *q, const char *name);
#endif
