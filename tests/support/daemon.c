#include "tests/support/daemon.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { READY_SECONDS = 120, ANSWER_MS = 180000, TICK_US = 20000, OPTIONS = 32, LOG_SHOWN = 4096 };

static void read_log(const Daemon *d, Buf *out) {
    char path[96], chunk[4096];
    size_t n;
    snprintf(path, sizeof path, "%s/log", d->dir);
    FILE *in = fopen(path, "r");
    buf_init(out);
    while (in && (n = fread(chunk, 1, sizeof chunk, in)) > 0) buf_put(out, chunk, n);
    if (in) fclose(in);
}

void daemon_give_up(Daemon *d, const char *why) {
    Buf log;
    read_log(d, &log);
    print_error("daemon: %s; the end of its log:\n%s\n", why, buf_text(&log) + (log.len > LOG_SHOWN ? log.len - LOG_SHOWN : 0));
    buf_release(&log);
    fail();
}

bool daemon_logged(const Daemon *d, const char *text) {
    Buf log;
    read_log(d, &log);
    bool found = strstr(buf_text(&log), text) != NULL;
    buf_release(&log);
    return found;
}

static void spawn(Daemon *d, const char *const *options) {
    const char *build = getenv("CAJAL_BUILD");
    char program[512], data[96], log[96];
    snprintf(program, sizeof program, "%s/cajald", build ? build : "build");
    snprintf(data, sizeof data, "%s/data", d->dir);
    snprintf(log, sizeof log, "%s/log", d->dir);
    const char *args[OPTIONS] = {program, "--listen", "127.0.0.1:0", "--data", data};
    for (int n = 5; options && *options && n < OPTIONS - 1; n++) args[n] = *options++;
    setenv("CAJAL_RESERVE", "1M", 0); /* whatever room this machine has */
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    int error = posix_spawn(&d->pid, program, &actions, NULL, (char **)args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) {
        d->pid = 0;
        daemon_give_up(d, strerror(error));
    }
}

static bool find_url(Daemon *d) {
    static const char mark[] = "ready on ";
    Buf log;
    read_log(d, &log);
    const char *at = strstr(buf_text(&log), mark);
    bool found = at && strchr(at, '\n');
    if (found) snprintf(d->url, sizeof d->url, "%.*s", (int)strcspn(at + sizeof mark - 1, " \n"), at + sizeof mark - 1);
    buf_release(&log);
    return found;
}

static void make_dir(Daemon *d) {
    if (*d->dir) return;
    const char *folder = getenv("TMPDIR");
    const bool fits = folder && *folder == '/' && strlen(folder) + sizeof "/cajal-test-XXXXXX" <= sizeof d->dir;
    snprintf(d->dir, sizeof d->dir, "%s/cajal-test-XXXXXX", fits ? folder : "/tmp");
    assert_non_null(mkdtemp(d->dir));
}

bool daemon_small_disk(Daemon *d, const char *size) {
    char data[96], option[32];
    make_dir(d);
    snprintf(data, sizeof data, "%s/data", d->dir);
    snprintf(option, sizeof option, "size=%s", size);
    assert_int_equal(0, mkdir(data, 0700));
    return mount("tmpfs", data, "tmpfs", 0, option) == 0;
}

void daemon_start(Daemon *d, const char *const *options) {
    make_dir(d);
    spawn(d, options);
    for (int i = 0; !find_url(d); i++) {
        if (waitpid(d->pid, NULL, WNOHANG) != 0) {
            d->pid = 0;
            daemon_give_up(d, "ended before it was ready");
        }
        if (i * TICK_US > READY_SECONDS * 1000000) daemon_give_up(d, "not ready in time");
        usleep(TICK_US);
    }
    d->client = client_new(d->url, NULL);
    assert_non_null(d->client);
    client_timeout(d->client, ANSWER_MS);
}

int daemon_refuses(Daemon *d, const char *const *options) {
    int status = 0;
    make_dir(d);
    spawn(d, options);
    assert_int_equal(d->pid, waitpid(d->pid, &status, 0));
    d->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon_stop(Daemon *d, int signal) {
    int status = 0;
    client_free(d->client);
    d->client = NULL;
    if (!d->pid) return -1;
    kill(d->pid, signal);
    assert_int_equal(d->pid, waitpid(d->pid, &status, 0));
    d->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void daemon_release(Daemon *d) {
    if (d->pid) daemon_stop(d, SIGKILL);
    char data[96];
    snprintf(data, sizeof data, "%s/data", d->dir);
    if (*d->dir) umount2(data, MNT_DETACH); /* daemon_small_disk's, if there is one */
    if (*d->dir) nftw(d->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    *d = (Daemon){0};
}

void daemon_ask(Daemon *d, int status, const char *method, const char *path, const char *json, ClientResponse *response) {
    if (client_json(d->client, method, path, json, response) != CLIENT_OK) daemon_give_up(d, client_error(d->client));
    if (response->status != status) print_error("%s %s: %s\n", method, path, buf_text(&response->body));
    assert_int_equal(status, response->status);
}
