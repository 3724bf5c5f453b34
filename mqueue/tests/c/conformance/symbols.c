/* The functions' versions in the C library: row F12. */
#include "common.h"

#if defined(__GLIBC__) && defined(__x86_64__)
#define OLD "GLIBC_2.3.4"
#define OLD_2 "GLIBC_2.7"
#elif defined(__GLIBC__) && defined(__aarch64__)
#define OLD "GLIBC_2.17"
#define OLD_2 OLD
#endif

#ifdef OLD
/* What programs call that were linked long ago. */
#define OLD_OF(name) __asm__(".symver old_" #name "," #name "@" OLD)
OLD_OF(mq_open);
OLD_OF(mq_close);
OLD_OF(mq_unlink);
OLD_OF(mq_send);
OLD_OF(mq_timedsend);
OLD_OF(mq_receive);
OLD_OF(mq_timedreceive);
OLD_OF(mq_getattr);
OLD_OF(mq_setattr);
OLD_OF(mq_notify);
__asm__(".symver old___mq_open_2,__mq_open_2@" OLD_2);
extern mqd_t old_mq_open(const char *, int, ...), old___mq_open_2(const char *, int);
extern int old_mq_close(mqd_t), old_mq_unlink(const char *), old_mq_send(mqd_t, const char *, size_t, unsigned);
extern int old_mq_timedsend(mqd_t, const char *, size_t, unsigned, const struct timespec *);
extern ssize_t old_mq_receive(mqd_t, char *, size_t, unsigned *);
extern ssize_t old_mq_timedreceive(mqd_t, char *, size_t, unsigned *, const struct timespec *);
extern int old_mq_getattr(mqd_t, struct mq_attr *), old_mq_setattr(mqd_t, const struct mq_attr *, struct mq_attr *);
extern int old_mq_notify(mqd_t, const struct sigevent *);

static void f12(void)
{
    struct mq_attr attr = {.mq_maxmsg = 3, .mq_msgsize = 64};
    char bytes[64];
    expect_notices();
    mqd_t created = old_mq_open(name_of(0), O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attr);
    fact("mq_open.new_sees_old", "%s", try_open(name_of(0), O_RDWR));
    mqd_t queue = create(1, O_NONBLOCK, 3, 64);
    fact("mq_open.old_sees_new", "%s", outcome(old_mq_open(name_of(1), O_RDWR)));
    fact("__mq_open_2", "%s", outcome(old___mq_open_2(name_of(1), O_RDWR)));
    fact("mq_send", "%s", outcome(old_mq_send(queue, "a", 1, 2)));
    fact("mq_timedsend", "%s", outcome(old_mq_timedsend(queue, "b", 1, 1, &long_ago)));
    fact("mq_getattr", "%s", outcome(old_mq_getattr(queue, &attr)));
    fact("mq_getattr.messages", "%ld", attr.mq_curmsgs);
    ssize_t length = old_mq_receive(queue, bytes, 64, NULL);
    fact("mq_receive", "%zd: %c", length, bytes[0]);
    length = old_mq_timedreceive(queue, bytes, 64, NULL, &long_ago);
    fact("mq_timedreceive", "%zd: %c", length, bytes[0]);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = NOTICE, .sigev_value.sival_int = 4};
    fact("mq_notify", "%s", outcome(old_mq_notify(queue, &event)));
    fact("mq_notify.registration", "%s", registration(queue));
    put(queue, "c", 1);
    fact("mq_notify.notice", "%s", notice());
    attr.mq_flags = 0;
    fact("mq_setattr", "%s", outcome(old_mq_setattr(queue, &attr, NULL)));
    fact("mq_setattr.attributes", "%s", attributes(queue));
    fact("mq_close", "%s", outcome(old_mq_close(queue)));
    fact("mq_close.attributes", "%s", attributes(queue));
    fact("mq_unlink", "%s", outcome(old_mq_unlink(name_of(1))));
    fact("mq_unlink.open", "%s", try_open(name_of(1), O_RDWR));
    fact("created.attributes", "%s", attributes(created));
}
#else
static void f12(void)
{
    skip("mq_open.new_sees_old", "this C library has one version of each function");
}
#endif

const struct row symbols_rows[] = {
    {"F12", f12}, {NULL, NULL},
};
