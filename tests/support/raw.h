/* A bare TCP connection to a daemon, for what the client library never does: requests in pieces, in bulk, half, or broken.
 *
 * Ownership: raw_open's descriptor is the caller's to close. Failures fail the test. Waits are bounded (60 s). */
#ifndef CAJAL_TEST_RAW_H
#define CAJAL_TEST_RAW_H
#include "client/lib/client.h"

int raw_open(const char *url);
void raw_send(int fd, const void *bytes, size_t len);
/* A whole request; headers end with \r\n each, or are "". json as it is. */
void raw_request(int fd, const char *method, const char *path, const char *headers, const char *json);
/* Reads one answer of a kept-alive connection: status, headers, body. False: the connection ended before it was complete. */
bool raw_answer(int fd, ClientResponse *out);
/* The other side has closed, having sent nothing more. */
bool raw_ended(int fd);
#endif
