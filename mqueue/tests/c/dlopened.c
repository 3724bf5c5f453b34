/* A program that loads the library at run time: `dlopened LIBRARY`. Its own calls are the C library's; the queue's are looked up. It asserts what it
 * finds and prints "done". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(what)                                                                                                                    \
    do {                                                                                                                               \
        if (!(what)) {                                                                                                                 \
            fprintf(stderr, "%s:%d: not so: %s (errno %s)\n", __FILE__, __LINE__, #what, strerrorname_np(errno));                      \
            exit(1);                                                                                                                   \
        }                                                                                                                              \
    } while (0)

int main(int count, char **words)
{
    CHECK(count == 2);
    void *library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    mqd_t (*open_queue)(const char *, int, ...) = (mqd_t(*)(const char *, int, ...))dlsym(library, "mq_open");
    int (*send)(mqd_t, const char *, size_t, unsigned) = (int (*)(mqd_t, const char *, size_t, unsigned))dlsym(library, "mq_send");
    int (*notify)(mqd_t, const struct sigevent *) = (int (*)(mqd_t, const struct sigevent *))dlsym(library, "mq_notify");
    int (*close_queue)(mqd_t) = (int (*)(mqd_t))dlsym(library, "mq_close");
    CHECK(open_queue && send && notify && close_queue);

    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 32};
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    mqd_t queue = open_queue("/q", O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
    CHECK(queue >= 0);
    CHECK(send(queue, "x", 1, 0) == 0);
    CHECK(notify(queue, &event) == 0);
    CHECK(close_queue(queue) == 0);
    CHECK(send(queue, "x", 1, 0) == -1 && errno == EBADF);

    /* The number is a file's now, and no queue's. (Lower ones may be free, or not: an attendant has some for a moment.) */
    int file = open("/dev/null", O_RDWR);
    CHECK(file == (int)queue || dup2(file, queue) == (int)queue);
    CHECK(send(queue, "x", 1, 0) == -1 && errno == EBADF);

    /* The registration went with the descriptor. */
    mqd_t again = open_queue("/q", O_RDWR);
    CHECK(again >= 0);
    CHECK(notify(again, &event) == 0);
    CHECK(close_queue(again) == 0);
    CHECK(close_queue(again) == -1 && errno == EBADF);
    puts("done");
    return 0;
}
