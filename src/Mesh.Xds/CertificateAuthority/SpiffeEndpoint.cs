using System.Net;
using System.Net.Sockets;
using Mesh.Core.Workloads;

namespace Mesh.Xds.CertificateAuthority;

/// <summary>Reads the address of a SPIFFE agent (SPIFFE Workload Endpoint, section 4).</summary>
internal static class SpiffeEndpoint
{
    private const string Unix = "unix:";
    private const string Tcp = "tcp://";

    /// <exception cref="FormatException">It is none; the message says what is allowed.</exception>
    public static EndPoint Parse(string text)
    {
        if (text.StartsWith(Unix, StringComparison.Ordinal))
        {
            var path = text[Unix.Length..];
            path = path.StartsWith("//", StringComparison.Ordinal) ? path[2..] : path;
            if (path is ['/', _, ..] && !path.AsSpan().ContainsAny('?', '#', '\0'))
            {
                return Socket(text, path);
            }
        }
        else if (text.StartsWith(Tcp, StringComparison.Ordinal))
        {
            // A name would be for others to resolve: what answers has the keys of the workload.
            var (authority, colon) = (text[Tcp.Length..], text.LastIndexOf(':') - Tcp.Length);
            if (colon > 0 && ushort.TryParse(authority.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out var port) && port > 0)
            {
                var host = authority[..colon];
                var bare = host is ['[', .., ']'] ? host[1..^1] : host;
                if (NetworkAddress.TryParseAddress(bare, out var address) && (bare != host) == bare.Contains(':', StringComparison.Ordinal))
                {
                    return new IPEndPoint(address, port);
                }
            }
        }

        throw new FormatException($"'{text}' is no address of a SPIFFE agent; allowed are unix:///path and tcp://IP:port");
    }

    private static UnixDomainSocketEndPoint Socket(string text, string path)
    {
        try
        {
            return new UnixDomainSocketEndPoint(path);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw new FormatException($"'{text}' is no address of a SPIFFE agent: the path is longer than a socket's may be", e);
        }
    }
}
