/* The client library against a one-request server on a thread that answers with given bytes. */
#include "client/lib/client.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    int listener;
    char url[64];
    const char *reply; /* NULL: reads the request and never answers */
    char request[4096];
    size_t len;
    pthread_t thread;
} Server;

/* A request is complete at the blank line plus what Content-Length says. */
static bool is_complete(const Server *s) {
    const char *end = strstr(s->request, "\r\n\r\n"), *length = strcasestr(s->request, "Content-Length:");
    size_t body = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
    return end && s->len >= (size_t)(end + 4 - s->request) + body;
}

static void *serve(void *arg) {
    Server *s = arg;
    int fd = accept(s->listener, NULL, NULL);
    while (!is_complete(s)) {
        ssize_t n = recv(fd, s->request + s->len, sizeof s->request - 1 - s->len, 0);
        if (n <= 0) break;
        s->len += (size_t)n;
    }
    char byte;
    if (s->reply) send(fd, s->reply, strlen(s->reply), MSG_NOSIGNAL);
    else
        while (recv(fd, &byte, 1, 0) > 0) {
        }
    close(fd);
    return NULL;
}

static void server_start(Server *s, const char *reply) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *s = (Server){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .reply = reply};
    assert_int_equal(0, bind(s->listener, (struct sockaddr *)&address, len));
    assert_int_equal(0, listen(s->listener, 4));
    assert_int_equal(0, getsockname(s->listener, (struct sockaddr *)&address, &len));
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    assert_int_equal(0, pthread_create(&s->thread, NULL, serve, s));
}

static void server_stop(Server *s) {
    pthread_join(s->thread, NULL);
    close(s->listener);
}

static void test_json(void **state) {
    (void)state;
    Server server;
    ClientResponse response = {0};
    server_start(
        &server,
        "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 422 No\r\nContent-Length: 3\r\nX-Request-Id: \t abc \r\n\r\n{ }");
    Client *client = client_new(server.url, "secret");
    assert_int_equal(CLIENT_OK, client_json(client, "POST", "/compile?a=1", "{\"source\": \"x\"}", &response));
    server_stop(&server);
    assert_int_equal(422, response.status);
    assert_string_equal("{ }", buf_text(&response.body));
    assert_ptr_equal(server.request, strstr(server.request, "POST /compile?a=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(server.request, "\r\nAuthorization: Bearer secret\r\n"));
    assert_non_null(strstr(server.request, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(server.request, "\r\n\r\n{\"source\": \"x\"}"));
    size_t len = 0;
    const char *id = client_header(&response, "x-request-id", &len);
    assert_non_null(id);
    assert_int_equal(3, len);
    assert_memory_equal("abc", id, 3);
    assert_null(client_header(&response, "X-Request", &len));
    assert_null(client_header(&response, "X-Early", &len));
    client_response_release(&response);
    client_free(client);
}

static void test_nothing_added(void **state) {
    (void)state;
    Server server;
    ClientResponse response = {0};
    server_start(&server, "HTTP/1.1 204 Gone\r\n\r\n");
    Client *client = client_new(server.url, "");
    const char *headers[] = {"X-Deadline-Ms: 5", NULL};
    assert_int_equal(CLIENT_OK, client_request(client, "POST", "/a/../b", headers, NULL, 0, &response));
    server_stop(&server);
    assert_int_equal(204, response.status);
    assert_int_equal(0, response.body.len);
    assert_non_null(strstr(server.request, "POST /a/../b HTTP/1.1\r\n"));
    assert_non_null(strstr(server.request, "\r\nContent-Length: 0\r\n"));
    assert_non_null(strstr(server.request, "\r\nX-Deadline-Ms: 5\r\n"));
    assert_null(strstr(server.request, "Content-Type"));
    assert_null(strstr(server.request, "Authorization"));
    client_response_release(&response);
    client_free(client);
}

static void test_binary(void **state) {
    (void)state;
    Server server;
    ClientResponse response = {0};
    server_start(&server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    Client *client = client_new(server.url, NULL);
    assert_int_equal(CLIENT_OK, client_binary(client, "PUT", "/x", "application/x-npy", "\0\1\2", 3, NULL, &response));
    server_stop(&server);
    const char *body = strstr(server.request, "\r\n\r\n");
    assert_non_null(body);
    assert_memory_equal("\0\1\2", body + 4, 3);
    assert_non_null(strstr(server.request, "\r\nContent-Type: application/x-npy\r\n"));
    assert_string_equal("ab", buf_text(&response.body));
    client_response_release(&response);
    client_free(client);
}

static void test_head(void **state) {
    (void)state;
    Server server;
    ClientResponse response = {0};
    server_start(&server, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    Client *client = client_new(server.url, NULL);
    assert_int_equal(CLIENT_OK, client_request(client, "HEAD", "/x", NULL, NULL, 0, &response));
    server_stop(&server);
    assert_int_equal(200, response.status);
    assert_int_equal(0, response.body.len);
    client_response_release(&response);
    client_free(client);
}

static ClientStatus ask(const char *url, const char *reply, int *status) {
    Server server;
    ClientResponse response = {0};
    if (!url) server_start(&server, reply);
    Client *client = client_new(url ? url : server.url, NULL);
    client_timeout(client, 300);
    ClientStatus said = client_json(client, "GET", "/", NULL, &response);
    assert_true(said == CLIENT_OK || *client_error(client));
    *status = response.status;
    client_free(client);
    if (!url) server_stop(&server);
    client_response_release(&response);
    return said;
}

static void test_no_answer(void **state) {
    (void)state;
    int status;
    assert_int_equal(CLIENT_BAD_URL, ask("gopher://127.0.0.1", NULL, &status));
    assert_int_equal(CLIENT_BAD_URL, ask("file:///etc/hostname", NULL, &status));
    assert_int_equal(CLIENT_UNREACHABLE, ask("http://127.0.0.1:1", NULL, &status));
    assert_int_equal(CLIENT_TIMED_OUT, ask(NULL, NULL, &status));
    assert_int_equal(CLIENT_BROKEN, ask(NULL, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", &status));
    assert_int_equal(0, status);
    assert_int_equal(CLIENT_BROKEN, ask(NULL, "", &status));
    assert_int_equal(CLIENT_OK, ask(NULL, "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", &status));
    assert_int_equal(503, status);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json), cmocka_unit_test(test_nothing_added), cmocka_unit_test(test_binary),
        cmocka_unit_test(test_head), cmocka_unit_test(test_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
