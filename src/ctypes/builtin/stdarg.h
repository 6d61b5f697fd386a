#ifndef _RTRACE_STDARG_TYPES
#define _RTRACE_STDARG_TYPES
typedef __builtin_va_list __gnuc_va_list;
#endif
#ifndef __need___va_list
typedef __gnuc_va_list va_list;
#endif
#undef __need___va_list
