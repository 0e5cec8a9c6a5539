using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Mesh.Core.Workloads;

namespace Mesh.Ztunnel.Dns;

/// <summary>How a question is to be answered, and why.</summary>
internal abstract record DnsResolution(string Reason)
{
    /// <summary>From what the mesh knows.</summary>
    /// <param name="Answer">The answer.</param>
    /// <param name="Service">The service that is meant.</param>
    /// <param name="Reason">In words.</param>
    internal sealed record Local(DnsAnswer Answer, Service Service, string Reason) : DnsResolution(Reason);

    /// <summary>By an upstream server.</summary>
    internal sealed record Forward(string Reason) : DnsResolution(Reason);
}

/// <summary>A name that may be meant by the one that was asked for.</summary>
/// <param name="Name">The name.</param>
/// <param name="Stripped">What is left of the name asked for when a search domain was taken off; null when none was.</param>
internal readonly record struct DnsAlias(string Name, string? Stripped);

/// <summary>Decides how a question is answered (ztunnel §11). Pure, but for the dice that order the addresses.</summary>
/// <param name="options">Domains, preferred namespace, address families.</param>
/// <param name="random">Orders the addresses of an answer. Must be safe for many threads where the resolver is used by many.</param>
internal sealed class DnsResolver(DnsProxyOptions options, Random random)
{
    /// <summary>For how many seconds a client may keep an answer about the mesh.</summary>
    public const uint TimeToLive = 30;

    private readonly string _clusterDomain = options.ClusterDomain.TrimEnd('.');
    private readonly string _serviceDomain = $"svc.{options.ClusterDomain.TrimEnd('.')}";
    private readonly string _serviceSuffix = $".svc.{options.ClusterDomain.TrimEnd('.')}";

    /// <summary>Decides.</summary>
    /// <param name="mesh">The mesh.</param>
    /// <param name="client">The workload that asks.</param>
    /// <param name="question">What it asks.</param>
    public DnsResolution Resolve(MeshSnapshot mesh, Workload client, DnsQuestion question)
    {
        if (question is not { Type: DnsRecordType.A or DnsRecordType.Aaaa, Class: DnsQuestion.Internet })
        {
            return new DnsResolution.Forward("neither A nor AAAA of the Internet");
        }

        if (!question.Name.TryGetHostname(out var hostname) || Find(mesh, client, hostname) is not { } found)
        {
            return new DnsResolution.Forward("no service of the mesh has the name");
        }

        var addresses = AddressesOf(mesh, client, found.Service, question.Type).Distinct().ToArray();
        random.Shuffle(addresses);
        var answer = new DnsAnswer(DnsResponseCode.NoError) { Authoritative = true, Answers = Records(question, found, addresses) };
        var reason = addresses.Length > 0 ? "the service's addresses" : $"the service has no {question.Type.Mnemonic()} address for this client";
        return new DnsResolution.Local(answer, found.Service, reason);
    }

    /// <summary>The names that may be meant by one, most likely first, none twice.</summary>
    public IEnumerable<DnsAlias> AliasesOf(string hostname, string clientNamespace)
    {
        var given = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        foreach (var name in WithExpansions(hostname, clientNamespace))
        {
            if (given.Add(name))
            {
                yield return new DnsAlias(name, null);
            }
        }

        foreach (var domain in options.SearchDomains ?? [$"{clientNamespace}.{_serviceDomain}", _serviceDomain, _clusterDomain])
        {
            if (Strip(hostname, domain.TrimEnd('.')) is not { } stripped)
            {
                continue;
            }

            foreach (var name in WithExpansions(stripped, clientNamespace))
            {
                if (given.Add(name))
                {
                    yield return new DnsAlias(name, stripped);
                }
            }
        }
    }

    /// <summary>The name, then the wildcards that cover it, the longest first.</summary>
    public static IEnumerable<string> WithWildcards(string name)
    {
        yield return name;
        for (var dot = name.IndexOf('.'); dot >= 0; dot = name.IndexOf('.', dot + 1))
        {
            yield return $"*{name[dot..]}";
        }
    }

    // Kubernetes lets a client leave out the end of a service's name.
    private IEnumerable<string> WithExpansions(string name, string clientNamespace)
    {
        var labels = name.AsSpan().Count('.') + 1;
        var endsInSvc = name.EndsWith(".svc", StringComparison.OrdinalIgnoreCase);
        IEnumerable<string> expansions = labels switch
        {
            1 => [$"{name}.{clientNamespace}.{_serviceDomain}"],
            2 => [$"{name}.{_serviceDomain}", $"{name}.{clientNamespace}.{_serviceDomain}"],
            3 when endsInSvc => [$"{name}.{_clusterDomain}", $"{name}.{_serviceDomain}"],
            3 => [$"{name}.{_serviceDomain}"],
            4 when endsInSvc => [$"{name}.{_clusterDomain}"],
            _ => [],
        };
        return expansions.Prepend(name);
    }

    private static string? Strip(string name, string domain)
    {
        var front = name.Length - domain.Length - 1;
        return front > 0 && name[front] == '.' && name.EndsWith(domain, StringComparison.OrdinalIgnoreCase) ? name[..front] : null;
    }

    private Match? Find(MeshSnapshot mesh, Workload client, string hostname)
    {
        foreach (var alias in AliasesOf(hostname, client.Namespace))
        {
            foreach (var name in WithWildcards(alias.Name))
            {
                if (Best(mesh.FindServicesByHostname(name, client.Namespace), client.Namespace) is { } service)
                {
                    // A wildcard stands for the name that was asked for, whatever was taken off to find it.
                    return new Match(service, ReferenceEquals(name, alias.Name) ? alias.Stripped : null);
                }
            }
        }

        return null;
    }

    private Service? Best(IReadOnlyList<Service> services, string clientNamespace)
    {
        Service? best = null;
        var bestRank = (false, false, false);
        foreach (var service in services)
        {
            var rank = (service.Namespace == clientNamespace, service.Canonical, service.Namespace == options.PreferredServiceNamespace);
            if (HasAddresses(service) && (best is null || rank.CompareTo(bestRank) > 0))
            {
                best = service;
                bestRank = rank;
            }
        }

        return best;
    }

    // Without virtual addresses a service of Kubernetes is headless; another one has its addresses elsewhere.
    private bool HasAddresses(Service service) =>
        !service.Vips.IsEmpty || service.Hostname.EndsWith(_serviceSuffix, StringComparison.OrdinalIgnoreCase);

    private IEnumerable<IPAddress> AddressesOf(MeshSnapshot mesh, Workload client, Service service, DnsRecordType type)
    {
        var family = type is DnsRecordType.Aaaa ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork;
        if ((family is AddressFamily.InterNetworkV6 && (!options.IPv6Enabled || service.IPFamilies is IPFamilies.IPv4Only))
            || (family is AddressFamily.InterNetwork && service.IPFamilies is IPFamilies.IPv6Only))
        {
            return [];
        }

        return service.Vips.IsEmpty
            ? mesh.EndpointsOf(service.Key).Values
                .Where(endpoint => endpoint.Status is WorkloadStatus.Healthy || service.LoadBalancing.HealthPolicy is HealthPolicy.AllowAll)
                .Select(endpoint => endpoint.Addresses.FirstOrDefault(address => address.AddressFamily == family))
                .OfType<IPAddress>()
            : service.Vips.Where(vip => vip.Network == client.Network && vip.Address.AddressFamily == family).Select(vip => vip.Address);
    }

    private static ImmutableArray<DnsRecord> Records(DnsQuestion question, Match found, IPAddress[] addresses)
    {
        if (addresses.Length == 0)
        {
            return [];
        }

        var records = ImmutableArray.CreateBuilder<DnsRecord>(addresses.Length + 1);
        var owner = question.Name;
        if (found.Stripped is not null && DnsName.TryParse(found.Stripped, out var stripped))
        {
            records.Add(new DnsRecord(owner, DnsRecordType.Cname, DnsQuestion.Internet, TimeToLive, stripped.Wire.ToArray()));
            owner = stripped;
        }

        foreach (var address in addresses)
        {
            records.Add(new DnsRecord(owner, question.Type, DnsQuestion.Internet, TimeToLive, address.GetAddressBytes()));
        }

        return records.ToImmutable();
    }

    private sealed record Match(Service Service, string? Stripped);
}
