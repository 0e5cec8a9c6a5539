using System.Diagnostics.CodeAnalysis;
using System.Net;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Inbound;

/// <summary>The target that a CONNECT names: an address or a host name, and a port (ztunnel §2.2).</summary>
/// <param name="Address">The address; null when a host name was given.</param>
/// <param name="Hostname">The host name; null when an address was given.</param>
/// <param name="Port">The port.</param>
public sealed record TunnelTarget(IPAddress? Address, string? Hostname, int Port)
{
    /// <summary>The longest that a target can be.</summary>
    internal const int MaxLength = MaxHostname + 8;

    // The longest DNS name.
    private const int MaxHostname = 253;

    /// <summary>Reads <c>address:port</c>, <c>[address]:port</c> or <c>host:port</c>; the port must be there.</summary>
    public static bool TryParse(string authority, [NotNullWhen(true)] out TunnelTarget? target)
    {
        ArgumentNullException.ThrowIfNull(authority);
        target = null;
        var colon = authority.LastIndexOf(':');
        if (colon <= 0
            || !int.TryParse(authority.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out var port)
            || port is < 1 or > IPEndPoint.MaxPort)
        {
            return false;
        }

        var host = authority[..colon];
        var bracketed = host is ['[', .., ']'];
        if (NetworkAddress.TryParseAddress(bracketed ? host[1..^1] : host, out var address))
        {
            // An IPv6 address without brackets could have lost its last group to the port.
            if (bracketed != host.Contains(':', StringComparison.Ordinal))
            {
                return false;
            }

            target = new TunnelTarget(address, null, port);
            return true;
        }

        if (host.Length > MaxHostname || !host.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_'))
        {
            return false;
        }

        target = new TunnelTarget(null, host, port);
        return true;
    }
}
