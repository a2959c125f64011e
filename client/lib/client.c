#include "client/lib/client.h"
#include <curl/curl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct Client {
    CURL *curl;
    char *url, *token;
    long timeout; /* milliseconds, 0: none */
    char error[CURL_ERROR_SIZE + 400];
};

static char *copy_or_env(const char *given, const char *variable, const char *otherwise) {
    const char *env = given ? NULL : getenv(variable);
    return strdup(given ? given : env && *env ? env : otherwise);
}

Client *client_new(const char *url, const char *token) {
    Client *client = calloc(1, sizeof *client);
    if (!client) return NULL;
    client->url = copy_or_env(url, "CAJAL_URL", CLIENT_DEFAULT_URL);
    client->token = copy_or_env(token, "CAJAL_TOKEN", "");
    client->curl = curl_easy_init();
    if (!client->url || !client->token || !client->curl) {
        client_free(client);
        return NULL;
    }
    size_t len = strlen(client->url);
    while (len && client->url[len - 1] == '/') client->url[--len] = 0;
    return client;
}

void client_free(Client *client) {
    if (!client) return;
    if (client->curl) curl_easy_cleanup(client->curl);
    free(client->url);
    free(client->token);
    free(client);
}

void client_timeout(Client *client, long milliseconds) { client->timeout = milliseconds; }
const char *client_url(const Client *client) { return client->url; }
const char *client_error(const Client *client) { return client->error; }

static size_t take_body(char *data, size_t size, size_t count, void *arg) {
    Buf *body = arg;
    buf_put(body, data, size * count);
    return body->failed ? 0 : size * count;
}

static size_t take_header(char *data, size_t size, size_t count, void *arg) {
    Buf *headers = arg;
    if (size * count >= 5 && memcmp(data, "HTTP/", 5) == 0) buf_clear(headers); /* an interim answer (100) came before */
    return take_body(data, size, count, arg);
}

/* A proxy meant for the outside world cannot reach this machine's loopback. */
static bool is_loopback(const char *url) {
    CURLU *parts = curl_url();
    char *host = NULL;
    bool local = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                 curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                 (strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0);
    curl_free(host);
    curl_url_cleanup(parts);
    return local;
}

static bool add_header(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer) *list = longer;
    return longer;
}

static bool make_headers(const Client *client, const char *const *headers, struct curl_slist **list) {
    Buf line;
    buf_init(&line);
    bool ok = add_header(list, "Content-Type:"); /* libcurl would claim a form */
    for (; ok && headers && *headers; headers++) ok = add_header(list, *headers);
    if (ok && *client->token) {
        buf_printf(&line, "Authorization: Bearer %s", client->token);
        ok = add_header(list, buf_text(&line)) && !line.failed;
    }
    buf_release(&line);
    return ok;
}

static void set_request(Client *client, const char *method, const char *url, struct curl_slist *headers, const void *body,
                        size_t len) {
    CURL *curl = client->curl;
    bool has_body = len || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, client->timeout);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (is_loopback(client->url)) curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (has_body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body ? body : "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    }
    if (strcmp(method, "HEAD") == 0) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

static ClientStatus status_of(CURLcode code) {
    switch (code) {
    case CURLE_OK: return CLIENT_OK;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: return CLIENT_BAD_URL;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT: return CLIENT_UNREACHABLE;
    case CURLE_OPERATION_TIMEDOUT: return CLIENT_TIMED_OUT;
    case CURLE_OUT_OF_MEMORY: return CLIENT_NO_MEMORY;
    default: return CLIENT_BROKEN;
    }
}

typedef struct {
    const ClientSink *sink;
    CURL *curl;
    ClientResponse *response;
    bool stopped;
} Stream;

static size_t take_stream(char *data, size_t size, size_t count, void *arg) {
    Stream *stream = arg;
    long status = 0;
    curl_easy_getinfo(stream->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status >= 300) return take_body(data, size, count, &stream->response->body);
    stream->stopped = !stream->sink->take(stream->sink->arg, data, size * count);
    return stream->stopped ? 0 : size * count;
}

static int wait_stream(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    Stream *stream = arg;
    stream->stopped = stream->stopped || !stream->sink->wait(stream->sink->arg);
    return stream->stopped;
}

static void set_stream(Stream *stream) {
    curl_easy_setopt(stream->curl, CURLOPT_WRITEFUNCTION, take_stream);
    curl_easy_setopt(stream->curl, CURLOPT_WRITEDATA, stream);
    curl_easy_setopt(stream->curl, CURLOPT_TCP_KEEPALIVE, 1L); /* a peer that is gone without a word is noticed within a minute */
    curl_easy_setopt(stream->curl, CURLOPT_TCP_KEEPIDLE, 15L);
    curl_easy_setopt(stream->curl, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(stream->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(stream->curl, CURLOPT_XFERINFOFUNCTION, wait_stream);
    curl_easy_setopt(stream->curl, CURLOPT_XFERINFODATA, stream);
}

/* stream: NULL for an answer that is collected. */
static ClientStatus perform(Client *client, ClientResponse *response, Stream *stream) {
    CURL *curl = client->curl;
    char reason[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &response->body);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &response->headers);
    if (stream) set_stream(stream);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    if (stream && stream->stopped) return CLIENT_STOPPED;
    if (code != CURLE_OK) {
        snprintf(client->error, sizeof client->error, "%.300s: %s", client->url, *reason ? reason : curl_easy_strerror(code));
        return response->body.failed || response->headers.failed ? CLIENT_BROKEN : status_of(code);
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    response->status = (int)status;
    return CLIENT_OK;
}

static ClientStatus no_memory(Client *client) {
    snprintf(client->error, sizeof client->error, "out of memory");
    return CLIENT_NO_MEMORY;
}

static ClientStatus request(Client *client, const char *method, const char *path, const char *const *headers, const void *body,
                            size_t len, ClientResponse *response, Stream *stream) {
    struct curl_slist *list = NULL;
    Buf url;
    client->error[0] = 0;
    response->status = 0;
    buf_clear(&response->body);
    buf_clear(&response->headers);
    response->body.cap = CLIENT_ANSWER_BYTES;
    buf_init(&url);
    buf_puts(&url, client->url);
    buf_puts(&url, path);
    const char *where = buf_text(&url);
    ClientStatus status;
    if (make_headers(client, headers, &list) && !url.failed && len <= LONG_MAX) {
        set_request(client, method, where, list, body, len);
        status = perform(client, response, stream);
    } else status = no_memory(client);
    curl_slist_free_all(list);
    buf_release(&url);
    return status;
}

ClientStatus client_request(Client *client, const char *method, const char *path, const char *const *headers, const void *body,
                            size_t len, ClientResponse *response) {
    return request(client, method, path, headers, body, len, response, NULL);
}

ClientStatus client_stream(Client *client, const char *path, const char *const *headers, const ClientSink *sink, ClientResponse *response) {
    Stream stream = {.sink = sink, .curl = client->curl, .response = response};
    return request(client, "GET", path, headers, NULL, 0, response, &stream);
}

ClientStatus client_json(Client *client, const char *method, const char *path, const char *json, ClientResponse *response) {
    const char *headers[] = {"Accept: application/json", json ? "Content-Type: application/json" : NULL, NULL};
    return client_request(client, method, path, headers, json, json ? strlen(json) : 0, response);
}

ClientStatus client_binary(Client *client, const char *method, const char *path, const char *type, const void *body, size_t len,
                           const char *accept, ClientResponse *response) {
    Buf lines;
    buf_init(&lines);
    buf_printf(&lines, "Content-Type: %s", type);
    buf_putc(&lines, 0);
    size_t second = lines.len;
    buf_printf(&lines, "Accept: %s", accept ? accept : "*/*");
    const char *text = buf_text(&lines);
    const char *headers[] = {text, text + second, NULL};
    ClientStatus status = lines.failed ? no_memory(client) : client_request(client, method, path, headers, body, len, response);
    buf_release(&lines);
    return status;
}

const char *client_header(const ClientResponse *response, const char *name, size_t *len) {
    const char *at = (const char *)response->headers.data, *end = at ? at + response->headers.len : NULL;
    size_t name_len = strlen(name);
    while (at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        const char *next = eol ? eol + 1 : end, *stop = next;
        if ((size_t)(next - at) > name_len && at[name_len] == ':' && strncasecmp(at, name, name_len) == 0) {
            at += name_len + 1;
            while (at < stop && (*at == ' ' || *at == '\t')) at++;
            while (stop > at && strchr(" \t\r\n", stop[-1])) stop--;
            *len = (size_t)(stop - at);
            return at;
        }
        at = next;
    }
    return NULL;
}

void client_response_release(ClientResponse *response) {
    buf_release(&response->body);
    buf_release(&response->headers);
    response->status = 0;
}
