/* The compiler's <stddef.h>, for machines without one. Includable several times: the C library
   asks for single types by __need_*. */
#ifndef _RTRACE_STDDEF_TYPES
#define _RTRACE_STDDEF_TYPES
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef int wchar_t;
typedef unsigned int wint_t;
typedef struct { long long __max_align_ll; long double __max_align_ld; } max_align_t;
#endif
#undef NULL
#define NULL ((void *)0)
#undef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#undef __need_size_t
#undef __need_ptrdiff_t
#undef __need_wchar_t
#undef __need_wint_t
#undef __need_NULL
