#include "client/lib/client.h"
#include <curl/curl.h>

/* Data sets are large, and lines slow: longer than the service's own deadline. */
#define DEADLINE "X-Deadline-Ms: 3600000"

static void put_escaped(Buf *out, const char *text) {
    char *escaped = curl_easy_escape(NULL, text, 0);
    if (escaped) buf_puts(out, escaped);
    else out->failed = true;
    curl_free(escaped);
}

ClientStatus client_dataset_put(Client *client, const char *name, const char *column, const void *body, size_t len, ClientResponse *response) {
    static const char *const headers[] = {"Accept: application/json", "Content-Type: application/octet-stream", DEADLINE, NULL};
    Buf path;
    buf_init(&path);
    buf_puts(&path, "/datasets/");
    put_escaped(&path, name);
    if (column) buf_puts(&path, "?column=");
    if (column) put_escaped(&path, column);
    const char *text = buf_text(&path);
    ClientStatus status = path.failed ? CLIENT_NO_MEMORY : client_request(client, "PUT", text, headers, body, len, response);
    buf_release(&path);
    return status;
}
