using System.Collections.Immutable;
using System.Net;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Dns;

/// <summary>What a resolv.conf says (resolv.conf(5)), as far as it matters here.</summary>
/// <param name="NameServers">Its name servers, in order; what is no address is left out.</param>
/// <param name="SearchDomains">The domains of the last <c>search</c> or <c>domain</c> line.</param>
internal sealed record ResolvConf(ImmutableArray<IPEndPoint> NameServers, ImmutableArray<string> SearchDomains)
{
    /// <summary>That of this process.</summary>
    public const string Path = "/etc/resolv.conf";

    // As many as the system's resolver takes (MAXNS).
    private const int MaxNameServers = 3;
    private const int DnsPort = 53;
    private static readonly char[] Blank = [' ', '\t'];

    /// <summary>Reads a file; one that is not there says nothing.</summary>
    public static ResolvConf Read(string path)
    {
        try
        {
            return Parse(File.ReadLines(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Parse([]);
        }
    }

    public static ResolvConf Parse(IEnumerable<string> lines)
    {
        var servers = ImmutableArray.CreateBuilder<IPEndPoint>();
        var domains = ImmutableArray<string>.Empty;
        foreach (var line in lines)
        {
            switch (line.Split(Blank, StringSplitOptions.RemoveEmptyEntries))
            {
                case ["nameserver", var text, ..] when servers.Count < MaxNameServers && TryParse(text, out var address):
                    servers.Add(new IPEndPoint(address, DnsPort));
                    break;
                case ["search" or "domain", .. var names]:
                    domains = [.. names.Select(name => name.TrimEnd('.')).Where(name => name.Length > 0)];
                    break;
            }
        }

        return new ResolvConf(servers.ToImmutable(), domains);
    }

    // A link-local address has its link behind a percent sign.
    private static bool TryParse(string text, out IPAddress address)
    {
        if (NetworkAddress.TryParseAddress(text, out var strict))
        {
            address = strict;
            return true;
        }

        return IPAddress.TryParse(text, out address!) && text.Contains('%');
    }
}
