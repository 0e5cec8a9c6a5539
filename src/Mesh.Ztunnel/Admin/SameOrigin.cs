using System.Net;
using Mesh.Core.Workloads;
using Microsoft.AspNetCore.Http;

namespace Mesh.Ztunnel.Admin;

/// <summary>Keeps other sites' pages in a browser of this machine from reading and from commanding.</summary>
/// <remarks>
/// A page can make its own host name lead here (DNS rebinding): the Host must be an address of ours or localhost, whatever the port, which a forwarder
/// may have changed. A page can send a request without reading the answer: where there is an Origin, it must be ours.
/// </remarks>
internal sealed class SameOrigin(IEnumerable<IPEndPoint> bound)
{
    private readonly HashSet<IPAddress> _own = [IPAddress.Loopback, IPAddress.IPv6Loopback, .. bound.Select(endPoint => endPoint.Address)];

    /// <summary>Why a request is refused; null when it is not.</summary>
    public string? Refuse(HttpRequest request)
    {
        if (!IsOurs(request.Host.Host))
        {
            return "the Host is not an address of this server";
        }

        var origins = request.Headers.Origin;
        return origins.Count == 0 || (origins.Count == 1 && origins[0] is { } origin && origin.Equals($"http://{request.Host.Value}", StringComparison.OrdinalIgnoreCase))
            ? null
            : "the Origin is another";
    }

    private bool IsOurs(string host)
    {
        var literal = host is ['[', .. var inner, ']'] ? inner : host;
        return host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            || (NetworkAddress.TryParseAddress(literal, out var address) && (literal.Length < host.Length) == host.Contains(':', StringComparison.Ordinal) && _own.Contains(address));
    }
}
