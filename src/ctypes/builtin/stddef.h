/* The compiler's <stddef.h>, for machines without one. The C library asks for single types by
   defining __need_NAME before it includes this, several times in one file. */
#if !defined __need_size_t && !defined __need_ptrdiff_t && !defined __need_wchar_t \
    && !defined __need_wint_t && !defined __need_NULL
# define __need_size_t
# define __need_ptrdiff_t
# define __need_wchar_t
# define __need_NULL
# undef offsetof
# define offsetof(type, member) __builtin_offsetof(type, member)
typedef struct { long long __max_align_ll; long double __max_align_ld; } max_align_t;
#endif
#ifdef __need_size_t
typedef unsigned long size_t;
# undef __need_size_t
#endif
#ifdef __need_ptrdiff_t
typedef long ptrdiff_t;
# undef __need_ptrdiff_t
#endif
#ifdef __need_wchar_t
typedef int wchar_t;
# undef __need_wchar_t
#endif
#ifdef __need_wint_t
typedef unsigned int wint_t;
# undef __need_wint_t
#endif
#ifdef __need_NULL
# undef NULL
# define NULL ((void *)0)
# undef __need_NULL
#endif
