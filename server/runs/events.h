/* A run's events as they come (api: GET /runs/{id}/events): Server-Sent Events or NDJSON, from any event on.
 *
 * Everything is read back from the database, so a reader sees what is committed, each event once and in order, whatever happened to it, to the
 * daemon or to the connection in between. A reader that is slow has one small buffer, and is read for when it has taken that. */
#ifndef CAJAL_EVENTS_H
#define CAJAL_EVENTS_H
#include "server/http/call.h"
#include "server/store/store_runs.h"

/* Answers with the events after number `after`, by the call's form; ends after the last one of a run that is neither queued nor running. */
void events_answer(Call *call, int64_t seq, const char *id, uint64_t after);
/* The run has new ones, or is over. */
void events_publish(Server *server, int64_t seq);
#endif
