/* A client of the Cajal service, on libcurl.
 *
 * Ownership: a Client is one kept-alive connection for one thread at a time; client_free ends it. A ClientResponse starts
 * zeroed, is overwritten by each request, and client_response_release frees what it holds.
 * Errors: CLIENT_OK means that the service answered; what it answered is response->status (HTTP). Otherwise client_error says in
 * one sentence why there is no answer. Redirects are not followed; an answer beyond CLIENT_ANSWER_BYTES is CLIENT_BROKEN. */
#ifndef CAJAL_CLIENT_H
#define CAJAL_CLIENT_H
#include "schema/base/buf.h"
#include "schema/limits.h"
#include <stdbool.h>
#include <stddef.h>

#define CLIENT_DEFAULT_URL "http://127.0.0.1:8420"
/* Numbers in JSON take several times the room they have in binary. */
#define CLIENT_ANSWER_BYTES (8 * LIMIT_BULK_BYTES)

typedef enum {
    CLIENT_OK,
    CLIENT_BAD_URL,     /* the base URL is none, or not http(s) */
    CLIENT_UNREACHABLE, /* nobody listens there */
    CLIENT_TIMED_OUT,   /* client_timeout */
    CLIENT_BROKEN,      /* the connection or the answer broke off */
    CLIENT_NO_MEMORY,
    CLIENT_STOPPED,     /* client_stream's caller had enough */
} ClientStatus;

typedef struct Client Client;
typedef struct {
    int status;  /* HTTP; 0 when there was no answer */
    Buf body;    /* buf_text(&body) for text */
    Buf headers; /* the lines as received */
} ClientResponse;

/* url: where the service is, without a path's last slash; NULL: $CAJAL_URL, else CLIENT_DEFAULT_URL. token: sent as a bearer token;
 * NULL: $CAJAL_TOKEN, else none. NULL when memory is out; the URL is judged by the first request. */
Client *client_new(const char *url, const char *token);
void client_free(Client *client);
/* For a whole request; 0, the default: none. */
void client_timeout(Client *client, long milliseconds);
const char *client_url(const Client *client);
const char *client_error(const Client *client);

/* One request, with nothing added but the token. path: from the slash, with its query, sent as it is. headers: "Name: value"
 * lines, ended by NULL; may be NULL. body: may be NULL when len is 0. */
ClientStatus client_request(Client *client, const char *method, const char *path, const char *const *headers, const void *body,
                            size_t len, ClientResponse *response);
/* Sends JSON (NULL: no body) and asks for JSON. */
ClientStatus client_json(Client *client, const char *method, const char *path, const char *json, ClientResponse *response);
/* Sends bytes of a media type and asks for one; accept NULL: any. */
ClientStatus client_binary(Client *client, const char *method, const char *path, const char *type, const void *body, size_t len,
                           const char *accept, ClientResponse *response);

/* A GET whose answer has no end of its own: what comes with a 2xx goes to `take` as it arrives, any other answer into the response.
 * `wait` is called about once a second besides. Either ends the request by returning false. */
typedef struct {
    bool (*take)(void *arg, const char *bytes, size_t len);
    bool (*wait)(void *arg);
    void *arg;
} ClientSink;
ClientStatus client_stream(Client *client, const char *path, const char *const *headers, const ClientSink *sink, ClientResponse *response);

/* PUT /datasets/NAME. column: what an IDX or npy body's one column is called; NULL for safetensors and npz. */
ClientStatus client_dataset_put(Client *client, const char *name, const char *column, const void *body, size_t len, ClientResponse *response);

/* A header's value without surrounding blanks; the name in any case. NULL when absent. It is no C string: *len bytes, valid while
 * the response is. */
const char *client_header(const ClientResponse *response, const char *name, size_t *len);
void client_response_release(ClientResponse *response);
#endif
