/* Plays a kernel that does less for UDP than this one. RELAIS_TEST_KERNEL says which: no-gro and no-gso know one of the socket
   options no more; never-merges takes UDP_GRO and does nothing; eio and einval refuse to cut messages, as a device without
   checksums and a path with a small MTU do; small-buffers grants no larger receive buffer. Built and preloaded by tests/offload.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define OF_UDP 17
#define SEGMENT 103
#define GRO 104

static int plays(const char *kernel) {
    const char *played = getenv("RELAIS_TEST_KERNEL");
    return played && !strcmp(played, kernel);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
    static int (*real)(int, int, int, const void *, socklen_t);
    if (!real) real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    if (level == OF_UDP && option == GRO && plays("never-merges")) return 0;
    if (level == OF_UDP && ((option == GRO && plays("no-gro")) || (option == SEGMENT && plays("no-gso")))) {
        errno = ENOPROTOOPT;
        return -1;
    }
    if (level == SOL_SOCKET && (option == SO_RCVBUF || option == SO_RCVBUFFORCE) && plays("small-buffers")) {
        int least = 64 * 1024;
        return real(fd, level, SO_RCVBUF, &least, sizeof least);
    }
    return real(fd, level, option, value, length);
}

static int is_to_be_cut(struct msghdr *message) {
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control))
        if (control->cmsg_level == OF_UDP && control->cmsg_type == SEGMENT) return 1;
    return 0;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
    static int (*real)(int, struct mmsghdr *, unsigned int, int);
    if (!real) real = (int (*)(int, struct mmsghdr *, unsigned int, int))dlsym(RTLD_NEXT, "sendmmsg");
    int error = plays("eio") ? EIO : plays("einval") ? EINVAL : 0;
    for (unsigned int i = 0; i < count; i++) {
        if (!is_to_be_cut(&messages[i].msg_hdr)) continue;
        /* Whoever was told that there is no such option must not use it. */
        if (plays("no-gso")) abort();
        if (!error) continue;
        /* Like the kernel: those before it are sent, and the error is told when it is the first. */
        if (i > 0) return real(fd, messages, i, flags);
        errno = error;
        return -1;
    }
    return real(fd, messages, count, flags);
}
