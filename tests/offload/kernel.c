/* Plays a kernel, or a sandbox, that does less than this one. RELAIS_TEST_KERNEL says what it lacks, several words with commas
   between them. Built and preloaded by tests/offload.rs.

   no-gro, no-gso     knows one of the socket options no more
   never-merges       takes UDP_GRO and does nothing
   tells-gro          writes a line whenever a socket asks for UDP_GRO
   eio, einval        refuse to cut messages, as a device without checksums and a path with a small MTU do
   small-buffers      grants no larger receive buffer
   enosys, eperm      have no calls for many datagrams, or forbid them
   no-timers          has no timers that are descriptors
   no-marks           takes no options about fragments, type of service and ICMP errors
   no-omit            knows fewer ways to deal with fragments, as gVisor does
   no-pktinfo         does not tell to which address a datagram was sent
   no-addresses       does not list the addresses of the machine
   seccomp            is this kernel with a filter that forbids all of it but the last two */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define OF_UDP 17
#define SEGMENT 103
#define GRO 104

static int plays(const char *kernel) {
    const char *played = getenv("RELAIS_TEST_KERNEL");
    size_t length = strlen(kernel);
    while (played && *played) {
        size_t word = strcspn(played, ",");
        if (word == length && !strncmp(played, kernel, length)) return 1;
        played += word + (played[word] == ',');
    }
    return 0;
}

static int fails(int error) {
    errno = error;
    return -1;
}

/* The error that calls for many datagrams get, or 0. Whoever has been told once that there are none must not try again. */
static int no_batches(int *calls) {
    int error = plays("enosys") ? ENOSYS : plays("eperm") ? EPERM : 0;
    if (error && __atomic_fetch_add(calls, 1, __ATOMIC_RELAXED) > 0) abort();
    return error;
}

static int is_mark(int level, int option) {
    return (level == IPPROTO_IP && (option == IP_MTU_DISCOVER || option == IP_RECVTOS || option == IP_RECVERR)) ||
           (level == IPPROTO_IPV6 && (option == IPV6_MTU_DISCOVER || option == IPV6_RECVTCLASS || option == IPV6_RECVERR));
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
    static int (*real)(int, int, int, const void *, socklen_t);
    if (!real) real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    if (level == OF_UDP && option == GRO && plays("never-merges")) return 0;
    if (level == OF_UDP && option == GRO && plays("tells-gro")) fputs("asked for UDP_GRO\n", stderr);
    if (level == OF_UDP && ((option == GRO && plays("no-gro")) || (option == SEGMENT && plays("no-gso"))))
        return fails(ENOPROTOOPT);
    if (is_mark(level, option) && plays("no-marks")) return fails(EPERM);
    if (level == IPPROTO_IP && option == IP_MTU_DISCOVER && *(const int *)value == IP_PMTUDISC_OMIT && plays("no-omit"))
        return fails(EINVAL);
    if (level == IPPROTO_IP && option == IP_PKTINFO && plays("no-pktinfo")) return fails(EPERM);
    if (level == SOL_SOCKET && (option == SO_RCVBUF || option == SO_RCVBUFFORCE) && plays("small-buffers")) {
        int least = 64 * 1024;
        return real(fd, level, SO_RCVBUF, &least, sizeof least);
    }
    return real(fd, level, option, value, length);
}

/* The error that a message gets, or 0. */
static int refusal(const struct msghdr *message) {
    struct msghdr copy = *message;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(&copy); control; control = CMSG_NXTHDR(&copy, control)) {
        if (control->cmsg_level != OF_UDP || control->cmsg_type != SEGMENT) continue;
        /* Whoever was told that there is no such option must not use it. */
        if (plays("no-gso")) abort();
        return plays("eio") ? EIO : plays("einval") ? EINVAL : 0;
    }
    return 0;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    static ssize_t (*real)(int, const struct msghdr *, int);
    if (!real) real = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    int error = refusal(message);
    return error ? fails(error) : real(fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
    static int (*real)(int, struct mmsghdr *, unsigned int, int);
    if (!real) real = (int (*)(int, struct mmsghdr *, unsigned int, int))dlsym(RTLD_NEXT, "sendmmsg");
    static int calls;
    int error = no_batches(&calls);
    if (error) return fails(error);
    for (unsigned int i = 0; i < count; i++) {
        error = refusal(&messages[i].msg_hdr);
        /* Like the kernel: those before it are sent, and the error is told when it is the first. */
        if (error) return i > 0 ? real(fd, messages, i, flags) : fails(error);
    }
    return real(fd, messages, count, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout) {
    static int (*real)(int, struct mmsghdr *, unsigned int, int, struct timespec *);
    if (!real) real = (int (*)(int, struct mmsghdr *, unsigned int, int, struct timespec *))dlsym(RTLD_NEXT, "recvmmsg");
    static int calls;
    int error = no_batches(&calls);
    return error ? fails(error) : real(fd, messages, count, flags, timeout);
}

int timerfd_create(int clock, int flags) {
    static int (*real)(int, int);
    if (!real) real = (int (*)(int, int))dlsym(RTLD_NEXT, "timerfd_create");
    return plays("no-timers") ? fails(EPERM) : real(clock, flags);
}

int getifaddrs(struct ifaddrs **list) {
    static int (*real)(struct ifaddrs **);
    if (!real) real = (int (*)(struct ifaddrs **))dlsym(RTLD_NEXT, "getifaddrs");
    return plays("no-addresses") ? fails(EPERM) : real(list);
}

#define FORBIDDEN(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define IF_IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))

/* Before the program begins. */
__attribute__((constructor)) static void filter(void) {
    if (!plays("seccomp")) return;
    struct sock_filter steps[] = {
        LOAD(nr),
        IF_IS(__NR_recvmmsg, 0, 1),
        FORBIDDEN(ENOSYS),
        IF_IS(__NR_sendmmsg, 1, 0),
        IF_IS(__NR_timerfd_create, 0, 1),
        FORBIDDEN(EPERM),
        IF_IS(__NR_setsockopt, 0, 9),
        LOAD(args[1]),
        IF_IS(OF_UDP, 6, 0),
        IF_IS(IPPROTO_IP, 0, 6),
        LOAD(args[2]),
        IF_IS(IP_MTU_DISCOVER, 3, 0),
        IF_IS(IP_RECVTOS, 2, 0),
        IF_IS(IP_RECVERR, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        FORBIDDEN(EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) abort();
}
