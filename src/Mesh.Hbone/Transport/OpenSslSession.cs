using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>OpenSSL's SSL: one side of one connection. Not thread-safe.</summary>
[SupportedOSPlatform("linux")]
internal sealed class OpenSslSession : SafeHandleZeroOrMinusOneIsInvalid
{
    public OpenSslSession(OpenSslContext context)
        : base(ownsHandle: true) => SetHandle(SSL_new(context));

    protected override bool ReleaseHandle()
    {
        SSL_free(handle);
        return true;
    }
}
