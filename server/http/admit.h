/* Everything that can be said of a request before its body comes: its framing, who asks and whether they may, its route, its form and its deadline.
 *
 * What is refused is answered; call->early then says that the refusal is for good, so that the body is not waited for. */
#ifndef CAJAL_ADMIT_H
#define CAJAL_ADMIT_H
#include "server/http/call.h"
#include "server/http/connection.h"

/* target: as the request line has it, without the query. loopback: the service listens on loopback. Sets the call's route, party, form and deadline, and
 * begins its body. */
void admit(Call *call, const Connection *connection, bool loopback, const char *target, const char *method);
/* The length of the body that is to come; BODY_UNKNOWN for a chunked one, 0 for none. */
uint64_t admit_declared(const Call *call);
/* False: answered, the party has as many of the kind as one may have. */
bool admit_quota(Call *call, size_t have, const char *of_what);
#endif
