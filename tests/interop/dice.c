/* Loads the dice of turnutils_uclient, which draws channel numbers from 0x4000-0x7FFF by eight random bytes: these leave
   only 0x4000-0x4FFF, which are the numbers that RFC 8656 §12 has. Built and preloaded by test_uclient.py. */
#define _GNU_SOURCE
#include <dlfcn.h>

int RAND_bytes(unsigned char *to, int length) {
    static int (*real)(unsigned char *, int);
    if (!real) real = (int (*)(unsigned char *, int))dlsym(RTLD_NEXT, "RAND_bytes");
    int good = real(to, length);
    if (length == sizeof(long)) to[1] &= 0xCF;
    return good;
}
